"""What a file's Content Credentials say of its origin (chapter 15_explain_a_video).

Content Credentials are C2PA's signed notes on where a file comes from and what was done to it.
They are read with c2pa-python, which is optional; nothing is asked of the network.
"""

import json
from pathlib import Path

_ALONE = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}
_LONGEST = 80  # characters of what the file says of itself


def content_credentials(path: str | Path) -> str:
    """Return in a sentence or two what a file's Content Credentials say.

    Parameters
    ----------
    path : str or Path
        Footage. What it says of itself is quoted as it is, for a page that escapes it.
    """
    try:
        from c2pa import C2paError, Context, Reader, Settings
    except ImportError:
        return (
            "Not looked for: this software reads them if the Python package c2pa-python is there."
        )
    if Path(path).is_dir():
        return "Not looked for: a folder of pictures carries none."
    try:
        reader = Reader.try_create(path, context=Context(settings=Settings.from_dict(_ALONE)))
    except C2paError:
        return "The file is of a format that cannot be searched for them, or they are damaged."
    if reader is None:
        return "This file carries none; most files do not, so that says nothing."
    return _told(json.loads(reader.json()), reader.get_validation_state())


def _told(store, state):
    manifest = store["manifests"][store["active_manifest"]]
    made = manifest.get("claim_generator_info") or [{}]
    signature = manifest.get("signature_info", {})
    whole = {
        "Trusted": "The signature fits the file, and the signer is on a list of trusted ones.",
        "Valid": "The signature fits the file, but nobody vouches for the signer.",
    }.get(state, "But the file was changed after it was signed, or the signature is wrong.")
    return (
        f"The file carries some, made with {_short(made[0].get('name'))} and signed in the name of "
        f"{_short(signature.get('issuer'))}; source: {_short(_source(manifest))}. {whole}"
    )


def _source(manifest):
    """Return the last digital source type that an action names."""
    actions = [
        action
        for assertion in manifest.get("assertions", [])
        if assertion.get("label", "").startswith("c2pa.actions")
        for action in assertion["data"].get("actions", [])
    ]
    named = [a["digitalSourceType"] for a in actions if "digitalSourceType" in a]
    return named[-1].rpartition("/")[2] if named else None


def _short(text):
    return "(not said)" if not text else " ".join(str(text).split())[:_LONGEST]
