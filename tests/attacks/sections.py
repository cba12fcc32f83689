"""All sections, what is right in each, and how many cases; the order of the table."""

from __future__ import annotations

from attacks import (
    captions,
    headers,
    hub,
    kills,
    names,
    page,
    pictures,
    races,
    recipes,
    secrets_kept,
    trainings,
    zips,
)
from attacks.table import Section

ALL = (
    Section(
        "pictures",
        "every picture becomes a training picture that decodes, or is refused by its name; what is"
        " no picture is never taken, what is sound always; the sources stay byte for byte; no"
        " process takes 1.8 GB",
        170,
        30,
        pictures.cases,
    ),
    Section(
        "names",
        "every command shows the name without commanding the terminal; caption and bundle find the"
        " file; nothing else is written",
        50,
        6,
        names.cases,
    ),
    Section(
        "captions",
        "no command hangs or crashes; the neighbour's fault is still told; no text is lost",
        35,
        8,
        captions.cases,
    ),
    Section(
        "zips",
        "a bundle is proven only if each file it names came with its hash; what is refused leaves"
        " nothing; nothing is written elsewhere",
        110,
        25,
        zips.cases,
    ),
    Section(
        "headers",
        "refused whenever the safetensors library refuses it; where we are stricter, by one of"
        " three named rules",
        20_000,
        1500,
        headers.cases,
    ),
    Section(
        "recipes",
        "a plan exits 0 or 1 with words, never with a traceback or raw control characters",
        6000,
        60,
        recipes.cases,
    ),
    Section(
        "races",
        "two commands at once: whoever exits 0 has done its work and it is still there; the other"
        " waits or exits 1",
        50,
        2,
        races.cases,
    ),
    Section(
        "kills",
        "every visible file is as before or as after; no photo, picture or caption is lost; the"
        " rerun completes; no worker and no hidden file stays",
        100,
        2,
        kills.cases,
    ),
    Section(
        "trainings",
        "the state that lorakit shows is true; a run with an intact state resumes to its planned"
        " step; nothing is said to be done that is not",
        40,
        1,
        trainings.cases,
    ),
    Section(
        "hub",
        "the right bytes arrive, or an error and no file; never more than was announced; the token"
        " stays with the hub",
        22,
        22,
        hub.cases,
    ),
    Section(
        "page",
        "a request that may not change anything changes nothing, is answered without a traceback,"
        " and the page still answers the next one within 5 s",
        140,
        140,
        page.cases,
    ),
    Section(
        "secrets",
        "after planning, training and reporting no file but the recipe and no line said holds it",
        12,
        12,
        secrets_kept.cases,
    ),
)
SECTIONS = {section.name: section for section in ALL}
