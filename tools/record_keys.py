"""Which string keys a file asks of records, for shape.py.

A string-key access to a record is `x["key"]`, or `x.get("key")` and the like, on what came from a
record: from `read_record(...)`, from a name or attribute `record` (or one that ends in it) and
its `.data`, or from a value taken out of these by key, by loop, by `or` or by assignment in the
same function. In a checkout without a class `Record`, a parameter annotated as a dictionary
counts as a record where the file knows records, as does what a function of that file returns as
one; with the class, a dictionary is something else (a lock, a row of progress). A fair estimate,
not a proof; a record's typed attributes are never counted.
"""

from __future__ import annotations

import ast

TAKING = {"get", "setdefault", "pop", "values", "items", "copy"}
Function = ast.FunctionDef | ast.AsyncFunctionDef


class RecordReader:
    """Counts the string keys that one file asks of records."""

    def __init__(self, tree: ast.Module, *, typed: bool) -> None:
        self.tree = tree
        self.knows = not typed and any(
            (isinstance(node, ast.alias) and node.name in {"read_record", "Record"})
            or (isinstance(node, ast.arg) and node.arg.endswith("record"))
            for node in ast.walk(tree)
        )
        self.makers = {"read_record"} | {
            node.name
            for node in ast.walk(tree)
            if isinstance(node, Function) and self.knows and node.returns and is_dict(node.returns)
        }

    def count(self) -> int:
        places: set[tuple[int, int]] = set()
        for scope in [self.tree, *(n for n in ast.walk(self.tree) if isinstance(n, Function))]:
            names = self.names_in(scope)
            for node in ast.walk(scope):
                if self.is_access(node, names) and isinstance(node, ast.expr):
                    places.add((node.end_lineno or 0, node.end_col_offset or 0))
        return len(places)

    def names_in(self, scope: ast.AST) -> set[str]:
        """The local names that hold a record or something out of one."""
        names: set[str] = set()
        if isinstance(scope, Function) and self.knows:
            names = {
                arg.arg
                for arg in [*scope.args.posonlyargs, *scope.args.args, *scope.args.kwonlyargs]
                if arg.annotation is not None and is_dict(arg.annotation)
            }
        before = -1
        while before != len(names):
            before = len(names)
            for node in ast.walk(scope):
                names |= self.bound(node, names)
        return names

    def bound(self, node: ast.AST, names: set[str]) -> set[str]:
        if isinstance(node, ast.Assign):
            targets: list[ast.expr] = node.targets
            value: ast.expr | None = node.value
        elif isinstance(node, ast.NamedExpr | ast.AnnAssign):
            targets, value = [node.target], node.value
        elif isinstance(node, ast.For | ast.comprehension):
            targets, value = [node.target], node.iter
        else:
            return set()
        if value is None or not self.is_record(value, names):
            return set()
        return {target.id for target in targets if isinstance(target, ast.Name)}

    def is_record(self, node: ast.expr, names: set[str]) -> bool:
        if isinstance(node, ast.Name):
            return node.id in names or node.id.endswith("record")
        if isinstance(node, ast.Attribute):
            if node.attr == "data":
                return self.is_record(node.value, names)
            return node.attr.endswith("record")
        if isinstance(node, ast.BoolOp):
            return any(self.is_record(value, names) for value in node.values)
        if isinstance(node, ast.Subscript):
            return self.is_record(node.value, names)
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute) and node.func.attr in TAKING:
                return self.is_record(node.func.value, names)
            called = ast.unparse(node.func).rpartition(".")[2]
            inner = called in {"list", "reversed", "sorted", "filter", "next"} and node.args
            return called in self.makers or bool(inner and self.is_record(node.args[-1], names))
        return False

    def is_access(self, node: ast.AST, names: set[str]) -> bool:
        if isinstance(node, ast.Subscript):
            return is_text(node.slice) and self.is_record(node.value, names)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            keyed = node.func.attr in {"get", "setdefault", "pop"} and is_text(node.args[0])
            return keyed and self.is_record(node.func.value, names)
        return False


def is_dict(annotation: ast.expr) -> bool:
    text = ast.unparse(annotation)
    return text.startswith(("dict[str, Any]", "Mapping[str, Any]", "list[dict[str, Any]]"))


def is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)
