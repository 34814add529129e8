"""Fixtures shared by the suite: tiny models, no network."""

import pytest

from golden_model import FAMILIES, write_folders
from nano_model import write_tiny_pipeline


@pytest.fixture(scope="session")
def imported(tmp_path_factory):
    """For each family, the folders of a tiny released model and of what the importer made of it."""
    return {family: write_folders(family, tmp_path_factory.mktemp(family)) for family in FAMILIES}


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope="session")
def nano_folder(tmp_path_factory):
    """A tiny random nano pipeline, as the folder that ``--model`` and ``from_pretrained`` take."""
    return write_tiny_pipeline(tmp_path_factory.mktemp("nano"))
