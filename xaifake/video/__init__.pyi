from .report import explain_video as explain_video
