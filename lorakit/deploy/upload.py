"""To the hub, through huggingface_hub: one commit into an empty repository, so that it holds all of
it or nothing. The token is HF_TOKEN's and is written nowhere.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from lorakit.deploy.publish import Publication
from lorakit.errors import LorakitError, RecipeError, SetupError, counted
from lorakit.private import without_user
from lorakit.weights.hub import endpoint

REFUSALS = {
    401: "the token of HF_TOKEN is not valid.",
    403: "the token of HF_TOKEN may not write there.",
    409: "the name was taken just now.",
    412: "somebody wrote into it just now.",
}


def upload(made: Publication, repo: str, *, public: bool) -> str:
    """Where it is then. A repository that holds anything is left as it is."""
    token = os.environ.get("HF_TOKEN", "").strip()
    if not token:
        hint = f"Make one that may write at {without_user(endpoint())}/settings/tokens, then export"
        raise SetupError("HF_TOKEN is not set; nothing was sent.", hint=f"{hint} HF_TOKEN=hf_...")
    from huggingface_hub import CommitOperationAdd, HfApi, constants
    from huggingface_hub.errors import RepositoryNotFoundError
    from huggingface_hub.utils import disable_progress_bars, logging

    logging.set_verbosity_error()
    disable_progress_bars()
    constants.HF_HUB_DISABLE_XET = True  # as when fetching: plain HTTP, one way that is tested
    api = HfApi(endpoint=endpoint(), token=token)
    with _told(repo):
        try:
            found = api.model_info(repo)
        except RepositoryNotFoundError:
            api.create_repo(repo, private=not public)
            found = api.model_info(repo)
        held = {one.rfilename for one in found.siblings or ()} - {".gitattributes"}
        if held or bool(found.private) is public:
            reader = "you alone read" if found.private else "everybody reads"
            what = f"{repo} is taken: {reader} it, and it holds {counted(len(held), 'file')}"
            hint = "Give the name of a new one: --repo."
            raise RecipeError(f"{what}; nothing was sent.", hint=hint)
        files: dict[str, Any] = {"README.md": made.card.encode(), **made.files}
        parts = [CommitOperationAdd(name, content) for name, content in files.items()]
        api.create_commit(repo, parts, commit_message="By lorakit", parent_commit=found.sha)
    return f"{without_user(endpoint())}/{repo}"


@contextmanager
def _told(repo: str) -> Iterator[None]:
    """What the hub's refusal means, and what is there by then."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError

    again = "Nothing was published; with the cause gone, the same command begins again."
    try:
        yield
    except LorakitError:
        raise
    except HFValidationError as error:
        raise RecipeError(f"--repo {repo}: {str(error).splitlines()[0]}") from None
    except HfHubHTTPError as error:
        code = error.response.status_code
        what = REFUSALS.get(code, f"the hub answered {code}.")
        raise SetupError(f"{repo}: {what}", hint=again) from None
    except (HTTPError, OSError, ValueError, RuntimeError) as error:
        if isinstance(error, OSError) and error.filename:
            raise  # a file of ours
        host = urlsplit(without_user(endpoint())).netloc
        raise SetupError(f"{repo}: the connection to {host} broke.", hint=again) from None
