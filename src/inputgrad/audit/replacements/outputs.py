"""What is differentiated instead: the sum in place of the mean, the label's output in place of all, one column at a time."""

from __future__ import annotations

import ast

from inputgrad.audit.call_sites import Site
from inputgrad.audit.source_edits import Source, argument, called


def of_the_sum(site: Site) -> str:
    """The line of ``autograd.grad`` with the sum of the samples in place of their mean: the mean times their number."""
    source, call = _grad(site)
    root, variable = (None, None) if call is None else (argument(call, 0, "outputs"), argument(call, 1, "inputs"))
    if source is None or root is None or variable is None:
        return ""
    if isinstance(root, ast.Call) and called(root) == "mean" and not root.args and not root.keywords and isinstance(root.func, ast.Attribute):
        return source.diff([source.replace(root, f"{source.text(root.func.value)}.sum()")])
    if isinstance(variable, (ast.List, ast.Tuple)) and variable.elts:
        variable = variable.elts[0]
    if isinstance(root, ast.BinOp) and isinstance(root.op, ast.Div):
        return source.diff([source.replace(root, source.text(root.left))])
    if not isinstance(root, (ast.Name, ast.Attribute, ast.Call, ast.Subscript)) or not isinstance(variable, (ast.Name, ast.Attribute)):
        return ""
    return source.diff([source.replace(root, f"len({source.text(variable)}) * {source.text(root)}")])


def of_the_label(site: Site, loss: Site) -> str:
    """The line of ``autograd.grad`` with the label's output in place of the sum of all. loss: the line that names the labels."""
    source, call = _grad(site)
    root = None if call is None else argument(call, 0, "outputs")
    statement = None if source is None or loss.file != site.file else source.statement(loss.line)
    if source is None or root is None or statement is None or source.scope(statement) is not source.scope(root):
        return ""
    summed = root.func.value if isinstance(root, ast.Call) and called(root) == "sum" and isinstance(root.func, ast.Attribute) and not root.args else root
    seeds = [word for word in call.keywords if word.arg == "grad_outputs"] + call.args[2:3] if call is not None else []
    if call is None or not isinstance(summed, ast.Name) or (summed is root) != bool(seeds):
        return ""
    output = summed.id
    losses = [node for node in source.expressions(statement) if isinstance(node, ast.Call) and len(node.args) > 1 and source.text(node.args[0]) == output]
    if len(losses) != 1:
        return ""
    label = f"{output}.gather(1, {source.text(losses[0].args[1])}[:, None]).sum()"
    return source.diff([source.replace(root, label), *(source.without_argument(call, seed) for seed in seeds)])


def of_each_column(site: Site) -> str:
    """The line of ``autograd.grad`` with each column differentiated by its own variable."""
    source, call = _grad(site)
    root, variable = (None, None) if call is None else (argument(call, 0, "outputs"), argument(call, 1, "inputs"))
    if isinstance(root, ast.Call) and called(root) == "sum" and isinstance(root.func, ast.Attribute) and not root.args:
        root = root.func.value
    if source is None or call is None or not isinstance(root, ast.Name) or not isinstance(variable, ast.Name):
        return ""
    scope = source.scope(call)
    parameters = {item.arg for item in scope.args.args} if isinstance(scope, (ast.FunctionDef, ast.Lambda)) else set()
    above = next(source.above(call))
    if root.id in parameters or not (isinstance(above, ast.Subscript) and isinstance(above.slice, ast.Constant) and above.slice.value == 0):
        return ""
    one = f"torch.autograd.grad({root.id}[:, i].sum(), {variable.id}, create_graph=True)[0][:, i]"
    return source.diff([source.replace(above, f"torch.stack([{one} for i in range({root.id}.shape[1])], 1)")])


def _grad(site: Site) -> tuple[Source | None, ast.Call | None]:
    """The one call of ``autograd.grad`` on a line."""
    source = Source.of(site)
    statement = None if source is None else source.statement(site.line)
    calls = [] if source is None or statement is None else source.calls(statement, "grad")
    return source, calls[0] if len(calls) == 1 else None
