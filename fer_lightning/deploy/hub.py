"""Upload of an exported network and its card to the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from threading import Thread

import huggingface_hub

from fer_lightning.errors import UserError

PATIENCE = 8.0  # seconds


def require_access(repository: str) -> None:
    """Checks within seconds that an upload to a repository, `user/name`, is possible.

    Raises:
        UserError: The name has another form, no user is logged in, or the hub cannot be reached.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise UserError(f"push must be the name of a repository, user/name; got {repository}.")
    if huggingface_hub.get_token() is None:
        raise UserError(f"push={repository} needs a login: run hf auth login, or set HF_TOKEN.")
    endpoint = huggingface_hub.constants.ENDPOINT
    answered: list[bool] = []
    # In a thread, because name resolution has no timeout.
    ask = Thread(target=lambda: answered.append(_answers(endpoint)), daemon=True)
    ask.start()
    ask.join(PATIENCE)
    if not any(answered):
        raise UserError(f"push={repository}: {endpoint} cannot be reached; omit push and upload the files later.")


def push(folder: Path, names: Sequence[str], repository: str) -> str:
    """Uploads files of a folder to a repository, which is created if it does not exist, and returns its web address.

    Raises:
        UserError: The hub refused the upload.
    """
    api = huggingface_hub.HfApi()
    try:
        address = api.create_repo(repository, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder, allow_patterns=list(names))
    except Exception as error:  # of the hub, of its transport, of the network
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"push={repository} was refused: {reason}; the files are in {folder}.") from error
    return str(address)


def _answers(endpoint: str) -> bool:
    try:
        huggingface_hub.get_session().head(endpoint, timeout=PATIENCE / 2)
    except Exception:  # exceptions depend on the version of the transport
        return False
    return True
