"""From a folder of photos to subsets that train."""

COMMANDS = {
    "add": "copy photos into originals/; says what it refused and why",
    "check": "every fault at once, each with its file and remedy",
    "prepare": "originals to N_trigger folders: oriented, converted, fitted",
    "drop": "leave pictures out of training, and take them back",
    "layout": "repeats, subsets, reg folders, dataset TOML",
    "caption": "write and correct captions, previewed and undoable",
    "review": "a local page to look at every image and its caption",
    "rank": "a technical score for every image",
    "select": "the best balanced set as a new version",
    "bundle": "one deterministic zip, and its verification elsewhere",
    "stats": "counts, sizes, tags, token lengths, weights, buckets",
    "diff": "what differs between two versions of a dataset",
}
