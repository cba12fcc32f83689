"""Asks the real CLIPTokenizer, inside sd-scripts' own Python. stdin: {"folder": vocabulary folder, "texts": [...]}; stdout, last line: [[ids]]."""

import json
import sys

from transformers import CLIPTokenizer

question = json.load(sys.stdin)
tokenizer = CLIPTokenizer.from_pretrained(question["folder"])
sys.stdout.write(
    "\n" + json.dumps([tokenizer(text)["input_ids"][1:-1] for text in question["texts"]]) + "\n"
)
