"""The Hugging Face hub: an exported network with its card, for others to load."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from threading import Thread

import huggingface_hub

from fer_lightning.errors import UserError

PATIENCE = 8.0  # seconds


def require_access(repository: str) -> None:
    """Makes sure, within seconds, that something could be uploaded.

    Args:
        repository: `user/name`.

    Raises:
        UserError: It has another form, nobody is logged in, or the hub cannot be reached.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise UserError(f"push={repository} is no repository of the hub: give user/name.")
    if huggingface_hub.get_token() is None:
        raise UserError(f"push={repository} needs a login: run hf auth login, or set HF_TOKEN.")
    endpoint = huggingface_hub.constants.ENDPOINT
    answered: list[bool] = []
    # In a thread, because looking up a name knows no timeout.
    ask = Thread(target=lambda: answered.append(_answers(endpoint)), daemon=True)
    ask.start()
    ask.join(PATIENCE)
    if not any(answered):
        raise UserError(f"push={repository}: {endpoint} cannot be reached from here; leave push away and upload later.")


def push(folder: Path, names: Sequence[str], repository: str) -> str:
    """Uploads files into a repository, which is created where it does not exist.

    Args:
        folder: Where they lie.
        names: Their names.
        repository: `user/name`.

    Returns:
        The web address of the repository.

    Raises:
        UserError: The hub refused.
    """
    api = huggingface_hub.HfApi()
    try:
        address = api.create_repo(repository, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder, allow_patterns=list(names))
    except Exception as error:  # of the hub, of its transport, of the network
        told = str(error).strip().partition("\n")[0]
        raise UserError(f"push={repository} was refused: {told}; the files are in {folder}.") from error
    return str(address)


def _answers(endpoint: str) -> bool:
    try:
        huggingface_hub.get_session().head(endpoint, timeout=PATIENCE / 2)
    except Exception:  # whatever the transport of this version raises
        return False
    return True
