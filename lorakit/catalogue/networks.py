"""What a network module of sd-scripts reads from network_args, and as what: read out of its source,
never imported.
"""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

# Argument -> what the script makes of its text: "int", "float", "literal", "switch" (exactly True),
# "any-case switch", "given" (any text counts as True), "one of a, b", "text".
Words = Mapping[str, str]
OPEN = "**"  # among the words: handed on to where we cannot follow, so there may be more
CREATE = "create_network"
TURNED: Mapping[str, tuple[type, str]] = {"int": (int, "an integer"), "float": (float, "a number")}


def turns(text: str, made: type) -> bool:
    try:
        made(text)
    except ValueError:
        return False
    return True


def misread(kind: str, text: str) -> str:
    """What is wanted instead of this text; nothing where it can be used."""
    if kind in TURNED:
        made, wanted = TURNED[kind]
        return "" if turns(text, made) else wanted
    if kind == "given":
        return "" if text == "True" else "True, or is left out, because any text counts as True"
    one_of = kind.removeprefix("one of ").split(", ")
    return kind if kind.startswith("one of ") and text not in one_of else ""


def read_networks(folder: Path) -> dict[str, Words]:
    """Of every module that makes a network. Follows `kwargs` from create_network into the functions
    that are handed them.
    """
    found: dict[str, Words] = {}
    for file in sorted(folder.glob("*.py")):
        tree = ast.parse(file.read_bytes())
        functions = {one.name: one for one in tree.body if isinstance(one, ast.FunctionDef)}
        if CREATE in functions:
            found[f"networks.{file.stem}"] = _words_of(functions)
    return found


def _words_of(functions: Mapping[str, ast.FunctionDef]) -> Words:
    found: dict[str, str] = {}
    waiting, seen = [CREATE], set[str]()
    while waiting:
        name = waiting.pop()
        if name in functions and name not in seen:
            seen.add(name)
            found.update(_read_in(functions[name]))
            waiting += _handed_on(functions[name])
        elif name not in functions:
            found[OPEN] = "text"
    return found


def _is_kwargs(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Name) and node.id.endswith("kwargs")


def _handed_on(function: ast.FunctionDef) -> Iterator[str]:
    for node in ast.walk(function):
        if isinstance(node, ast.Call):
            handed = [*node.args, *(word.value for word in node.keywords)]
            if any(map(_is_kwargs, handed)):
                yield ast.unparse(node.func)


def _asked_word(node: ast.AST) -> str:
    """The name in kwargs.get("name", ...) or kwargs.pop("name")."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
        return ""
    first = node.args[0]
    asks = node.func.attr in {"get", "pop"} and _is_kwargs(node.func.value)
    return str(first.value) if asks and isinstance(first, ast.Constant) else ""


def _read_in(function: ast.FunctionDef) -> dict[str, str]:
    found: dict[str, str] = {}
    variables: dict[str, str] = {}
    for node in ast.walk(function):
        if word := _asked_word(node):
            found.setdefault(word, "text")
        if isinstance(node, ast.Assign) and (word := _asked_word(node.value)):
            variables.update({ast.unparse(target): word for target in node.targets})
    for node in ast.walk(function):
        found.update(_made_of(node, variables))
    return found


def _made_of(node: ast.AST, variables: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What a text is turned into: int(x), x == "True", x in ["all", ...]."""
    if isinstance(node, ast.Call) and len(node.args) == 1:
        kinds = {"int": "int", "float": "float", "bool": "given", "ast.literal_eval": "literal"}
        made, inner = ast.unparse(node.func), node.args[0]
        word = _asked_word(inner) or variables.get(ast.unparse(inner), "")
        if word and made in kinds:
            yield word, kinds[made]
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        left, right = ast.unparse(node.left), node.comparators[0]
        said = right.value if isinstance(right, ast.Constant) else None
        if left in variables and said == "True":
            yield variables[left], "switch"
        elif left.removesuffix(".lower()") in variables and said == "true":
            yield variables[left.removesuffix(".lower()")], "any-case switch"
        elif left in variables and isinstance(right, ast.List):
            choices = [one.value for one in right.elts if isinstance(one, ast.Constant)]
            yield variables[left], f"one of {', '.join(map(str, choices))}"
