"""The fifth room: from arrays and tables to figures, for all chapters."""
