"""The glossary explains the terms that the texts use, and no others."""

import re

from tests.conftest import REPOSITORY

# Abbreviations that are no terms of the field, or are names.
EVERYDAY = {
    "AMD",
    "API",
    "AVX",
    "BMP",
    "CAPTCHA",
    "CIFAR",
    "CNN",
    "CPU",
    "DAN",
    "DANN",
    "DDC",
    "EXIF",
    "GB",
    "GIF",
    "GPU",
    "IEEE",
    "JAX",
    "JPEG",
    "JSON",
    "MB",
    "MNIST",
    "PNG",
    "PORTING",
    "README",
    "SIGINT",
}


def entries():
    """The text of each entry by its term."""
    text = (REPOSITORY / "docs" / "glossary.md").read_text(encoding="utf-8")
    body = text.partition("```{glossary}\n")[2].rpartition("```")[0]
    pairs = (entry.split("\n", 1) for entry in re.split(r"\n\n(?=\S)", body.strip()))
    return {term: explanation.strip() for term, explanation in pairs}


def prose(path):
    """A page without its code, addresses and references."""
    text = path.read_text(encoding="utf-8").partition("## References")[0]
    return re.sub(r"```.*?```|`[^`]*`|https?://\S+|\]\([^)]*\)", "", text, flags=re.S)


def test_every_abbreviation_in_the_notebooks_is_explained():
    explained = " ".join([*entries(), *entries().values()])
    for notebook in (REPOSITORY / "notebooks").glob("[0-9]_*.md"):
        used = set(re.findall(r"\b[A-Z][A-Z0-9]+\b", prose(notebook)))
        unknown = {word for word in used - EVERYDAY if not re.search(rf"\b{word}\b", explained)}
        assert not unknown, notebook.name


def test_every_entry_is_a_term_of_some_page():
    skipped = ("glossary.md", "CHANGELOG.md")
    pages = [page for page in REPOSITORY.rglob("*.md") if page.name not in skipped]
    texts = " ".join(
        page.read_text(encoding="utf-8") for page in pages if ".venv" not in page.parts
    )
    texts = " ".join(re.sub(r"[*_`]", "", texts).lower().split())
    for term, explanation in entries().items():
        words = [word[:-1] if len(word) > 4 else word for word in term.lower().split()]
        assert all(word in texts for word in words), term
        assert explanation.endswith("."), term


def test_entries_are_in_order():
    terms = [term.lower() for term in entries()]
    assert terms == sorted(terms)
