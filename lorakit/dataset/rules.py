"""Every rule by name, which also switches it off: how severe it is and why it matters."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from lorakit.errors import Fault, RecipeError, Severity, did_you_mean
from lorakit.show import plain


@dataclass(frozen=True)
class DatasetRule:
    name: str
    severity: Severity
    why: str


def _table(severity: Severity, **rows: str) -> dict[str, DatasetRule]:
    """Keyword `caption_bom` is the rule caption-bom."""
    names = {name: name.replace("_", "-") for name in rows}
    return {names[name]: DatasetRule(names[name], severity, why) for name, why in rows.items()}


RULES = {
    **_table(
        "error",
        # folders and files, from names alone
        no_folder="a dataset that is not there trains nothing, and the script exits with 0",
        image_folder_given="kohya looks only at folders inside the given one; given the images' own"
        " folder it finds nothing and exits with 0",
        nothing_to_train="without an image the script says 'No data found' and exits with 0",
        folder_name="a folder whose name does not begin with a number and _ is left out",
        folder_negative="a folder with fewer than one repeat is silently left out",
        extension_case="kohya matches .png and .PNG but not .Png, and silently leaves it out",
        extension_unsupported="kohya reads png, jpg, jpeg, webp and bmp; others are silently left"
        " out",
        not_a_file="kohya would open this as an image and stop",
        broken_link="kohya stops with FileNotFoundError",
        unreadable="kohya stops when it cannot open a file",
        header="an image whose size cannot be read stops kohya with 'division by zero' and no file"
        " name",
        metadata="kohya's fine-tuning method takes images and captions from this file alone, and"
        " stops at what is not there",
        cache_size="kohya finds the size of an image in the name of a cache, by prefix; a wrong one"
        " puts the image into the wrong bucket",
        film="a film among pictures is silently left out: only Wan is trained on films",
        # caption files
        caption_missing="an image without a caption among captioned ones is trained on the folder's"
        " class tokens alone",
        caption_extension="kohya looks for one extension only; a caption with another is silently"
        " not used",
        caption_empty="a caption file of zero bytes stops kohya with an assertion",
        caption_blank="a caption of blanks, or with an empty first line, is trained as no caption"
        " at all, not as the class tokens",
        caption_encoding="kohya reads captions as UTF-8 and stops at the first other byte",
        caption_bom="the byte order mark stays in the caption and becomes part of its first word",
        caption_nul="NUL and other control characters become tokens nobody wanted",
        caption_shared="two images with the same name share one caption, and one latent cache when"
        " their sizes match",
        caption_unreadable="kohya stops when it cannot open a caption, and passes over one that is"
        " no file",
        # pixels: these need a full decode
        undecodable="a truncated or broken image stops the script when it first comes up, perhaps"
        " hours later",
        bomb="an image too large to decode in reasonable memory; kohya would try",
        extension_content="programs that go by the name (converters, browsers, taggers) misread a"
        " file of another kind",
        too_small="a side shorter than the bucket step leaves no pixels, and kohya divides by zero",
        unfit="with buckets off and latents not cached, an image of another size than `resolution`"
        " stops a worker",
    ),
    **_table(
        "warning",
        # folders and files, from names alone
        folder_zero="a folder with 0 repeats is silently left out; fine if that is meant",
        folder_odd="the name can be read in more than one way, and kohya's may not be yours",
        folder_empty="a subset without images is left out",
        metadata_others="images that the metadata file does not name are silently left out",
        image_outside="images beside the N_ folders are not trained on",
        nested="kohya does not look into folders inside a subset",
        dot_file="files whose names begin with a dot are silently left out",
        webp_size="kohya reads the size of this kind of WebP one pixel too small each way, which"
        " can select a smaller bucket",
        cache_stale="kohya never checks whether a cache is older than its image or caption: it"
        " would train on the old one",
        cache_old_style="a <name>.npz without a size in its name takes precedence over the newer"
        " caches of SD and SDXL",
        film_turned="phones store films lying on their side; the mark that turns them is ignored",
        reg_empty="a regularisation folder without images does nothing",
        # caption files
        caption_none="without captions every image is trained on the class tokens alone; fine for"
        " an object, poor for a character",
        caption_lines="only the first line of a caption is used (unless enable_wildcard is on)",
        caption_orphan="a caption without an image is not used; often the image was renamed",
        caption_fallback="kohya also looks for a caption with the last four parts of the path cut"
        " off (names from its face detector)",
        caption_huge="a caption of many kilobytes is a mistake; all but the first 75 (or 225)"
        " tokens are cut off",
        # pixels: these need a full decode
        rotated="kohya ignores the camera's orientation mark: the photo would be trained sideways",
        transparent="kohya drops transparency, and whatever colour is hidden behind it shows",
        animated="only the first picture of an animation is trained on",
        grey="grey pictures among coloured ones teach that the subject may be grey",
        colours="CMYK and 16-bit pictures are converted crudely; 16-bit grey turns white",
        icc="colour profiles are ignored; colours of any space but sRGB come out wrong",
        exif="broken metadata: other programs may turn the picture or refuse it",
        duplicate="the same file twice counts twice as much as its neighbours",
        near_duplicate="pictures that hardly differ count like one with more repeats, and are the"
        " first to be overfitted",
        blurry="blur is learnt as part of the subject",
        flat="a picture with hardly any contrast teaches little",
        exposure="almost black or almost white pictures teach little",
        border="frames, letterbox bars and caption strips are learnt and come back in the results",
        bars="bars that fill a letterbox are part of every such picture, and of what is learned",
        flagged="somebody has flagged it in the review, and it is trained on all the same",
        small_original="a photo smaller than its letterbox stands in a frame of nothing",
        enlarged="an enlarged picture teaches softness",
        cropped="kohya crops the centre: what is at the edges, often the head or the feet, is lost",
        aspect="a picture of an unusual shape is alone in its bucket",
        # what the captions say
        trigger_missing="what is trained without the trigger cannot be called by it",
        trigger_late="the trigger belongs first: later words weigh less, and shuffling keeps only"
        " the first ones in place",
        trigger_common="a word that CLIP knows already brings its old meaning along",
        caption_same="identical captions make different pictures one and the same to the model",
        caption_alike="captions that differ in one word do not tell the model what differs in the"
        " pictures",
        caption_structure="captions of one set should be built alike: all tags or all sentences, of"
        " similar length",
        caption_tokens="what is beyond the limit is silently cut off",
        face_described="features that the captions describe are tied to those words instead of"
        " to the trigger",
        bleed="an outfit or background that always comes with the trigger becomes part of it",
        share="a subset with nearly all, or nearly none, of the steps defeats the purpose of"
        " subsets",
        shots="only close-ups, or only full bodies, teach one distance",
        few_images="with fewer than ten pictures a character is overfitted rather than understood",
    ),
}


def fault(rule: str, where: Path | str, what: str, hint: str = "") -> Fault:
    """A fault with its rule's severity; `where` is made safe to print."""
    return Fault(shown(where), what, hint, rule, RULES[rule].severity)


def shown(name: Path | str) -> str:
    """A path as one printable line."""
    return plain(str(name))


def without(faults: Iterable[Fault], off: Collection[str]) -> tuple[Fault, ...]:
    return tuple(item for item in faults if item.rule not in off)


def known_rules(names: Iterable[str], where: str) -> frozenset[str]:
    """The names as a set; an unknown one is refused with the nearest right one."""
    names = list(names)
    wrong = [
        Fault(where, f"no rule is called {name!r}.", did_you_mean(name, RULES))
        for name in names
        if name not in RULES
    ]
    if wrong:
        raise RecipeError("lorakit dataset check --rules lists them.", faults=wrong)
    return frozenset(names)
