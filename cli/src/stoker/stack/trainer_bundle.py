"""The trainer bundle of this installation, built where the dataset gateway of the stack finds it."""

from stoker.stack.errors import DataFolderUnusable
from stoker.stack.layout import Layout
from stoker_trainer.bundle import write_bundle


def make_trainer_bundle(layout: Layout) -> None:
    """Build it anew if the sources have changed.

    Raises:
        DataFolderUnusable: it cannot be written.
    """
    path = layout.trainer_bundle
    try:
        write_bundle(path.parent, filename=path.name)
    except OSError as error:
        raise DataFolderUnusable(layout.root, error.strerror or str(error)) from error
