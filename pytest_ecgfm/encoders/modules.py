"""Torch modules as people have them: loaded, exported, compiled, lazy, with an `eval` of their own."""

from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from types import FunctionType, MethodType
from typing import Any

from pytest_ecgfm.errors import EcgfmError, MachineLacks, NotAnEmbedding, first_line

_EXPORTED = "_StatefulGraphModule"
_COMPILERS = ("torch._inductor", "torch._dynamo")
_PLAIN = (str, bytes, int, float, complex, bool, type(None))


def is_torch_module(model: object) -> bool:
    """Say whether something is a `torch.nn.Module`, without importing torch."""
    return any(base.__module__.startswith("torch.nn") and base.__name__ == "Module" for base in type(model).__mro__)


def freeze(module: Any, device: str, where: str) -> None:
    """Put a module into eval mode, without gradients, on a device.

    Each step by itself: an `eval`, `train` or `to` of a module's own may return nothing; a TorchScript module knows no
    `requires_grad_`; an exported one no `eval`, as its mode is part of its program.

    Parameters
    ----------
    module : torch.nn.Module
        Changed in place.
    device : str
        Where it should run.
    where : str
        Which model, for the message.

    Raises
    ------
    EcgfmError
        One line: why it cannot run, and what to do.
    """
    _require_values(module, where)
    # A module's own `train` may take no mode, be a training loop, or forget some of its parts.
    with suppress(Exception):
        module.eval()
    for part in module.modules():
        if part.training:
            with suppress(Exception):
                part.training = False
    for parameter in module.parameters():
        with suppress(RuntimeError):
            parameter.requires_grad_(False)
    tensors = [*module.parameters(), *module.buffers()]
    if all(_is_on(tensor, device) for tensor in tensors):
        return
    try:
        module.to(device)
    except Exception as error:
        first = first_line(error)
        raise _said_once(
            EcgfmError(
                f"{where}: cannot be moved to {device} ({type(error).__name__}: {first}). Put it there in its fixture, "
                "or give its own device to --ecgfm-device."
            ),
            f"{where}: cannot be moved to {device}, as said before.",
        ) from None
    if away := next((name for name, one in module.named_parameters() if not _is_on(one, device)), None):
        raise _said_once(
            EcgfmError(
                f"{where}: parameter {away} does not move to {device}: its method `to` should move all parameters."
            ),
            f"{where}: does not move to {device}, as said before.",
        )


def _require_values(module: Any, where: str) -> None:
    """Refuse a module whose weights are not there: they would be drawn, or are none."""
    import torch

    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if torch.nn.parameter.is_lazy(tensor):
            what = f"parameter {name} has no values before the first pass (a lazy module)"
            advice = "run it once on a batch in its fixture, then load its weights"
        elif tensor.is_meta:
            what, advice = (
                f"parameter {name} is on the meta device and has no values",
                "load its weights in its fixture",
            )
        else:
            continue
        text = EcgfmError(f"{where}: {what}: {advice}.")
        raise _said_once(text, f"{where}: parameter {name} has no values, as said before.")


def _is_on(tensor: Any, device: str) -> bool:
    kind, _, number = device.partition(":")
    return bool(tensor.device.type == kind and (not number or tensor.device.index == int(number)))


def explained(error: Exception, model: Any, where: str) -> EcgfmError | None:
    """Put what torch says of an exported or compiled module into one line of what to do; None for any other error."""
    first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    if any(base.__name__ == _EXPORTED for base in type(model).__mro__) and "Guard failed" in str(error):
        return _said_once(
            NotAnEmbedding(
                f"{where}: the exported module takes only inputs like the one that it was exported with ({first}): "
                "export it with dynamic_shapes, such as ({0: torch.export.Dim.DYNAMIC},)."
            ),
            f"{where}: the exported module does not take this batch, as said before.",
        )
    kinds = [one for one in (error, error.__cause__) if one is not None]
    if any(type(one).__module__.startswith(_COMPILERS) for one in kinds):
        return _said_once(
            MachineLacks(
                f"{where}: torch.compile does not work here ({type(error).__name__}: {first}): give the module as it "
                "was before torch.compile, or install what is missing."
            ),
            f"{where}: torch.compile does not work here, as said before.",
        )
    return None


def unusable(model: Any) -> str:
    """Say what something is that no encoder can be made of, and what to give instead; empty where it may be one."""
    kind = type(model).__name__
    if isinstance(model, type):
        return f"is the class {model.__name__}: its fixture should return an instance"
    if kind == "ExportedProgram":
        return "is an ExportedProgram: return its module()"
    if callable(model) or callable(getattr(model, "embed", None)):
        return ""
    if isinstance(model, dict):
        return f"is a {kind} of {len(model)} entries: build the network and load these weights into it"
    return f"is a {kind}, but should be a torch.nn.Module, a callable, or an object with embed(batch)"


def _said_once(error: EcgfmError, again: str) -> EcgfmError:
    error.again = again
    return error


def held_modules(model: Any) -> dict[str, Any]:
    """Find the torch modules that a function or an object holds, one level deep, by where they are.

    Looked at: attributes; what a function closes over, its defaults and the globals that it names; what a method is
    bound to; what a partial function is given; and what is directly in lists, tuples and dictionaries among these.
    """
    found: dict[str, Any] = {}
    for name, value in _held(model):
        if is_torch_module(value):
            found.setdefault(name, value)
        elif isinstance(value, list | tuple | dict):
            inner = value.items() if isinstance(value, dict) else enumerate(value)
            found |= {f"{name}[{key}]": one for key, one in inner if is_torch_module(one)}
    return found


def _held(model: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(model, partial):
        yield from _numbered("argument", (*model.args, *model.keywords.values()))
        yield from _held(model.func)
    elif isinstance(model, MethodType):
        yield "self", model.__self__
        yield from _held(model.__self__)
        yield from _held(model.__func__)
    elif isinstance(model, FunctionType):
        for name, cell in zip(model.__code__.co_freevars, model.__closure__ or (), strict=True):
            with suppress(ValueError):  # a cell that is still empty
                yield name, cell.cell_contents
        yield from _numbered("default", (*(model.__defaults__ or ()), *(model.__kwdefaults__ or {}).values()))
        yield from _globals(model)
    elif not isinstance(model, _PLAIN):
        yield from (getattr(model, "__dict__", None) or {}).items()
        for method in (getattr(type(model), name, None) for name in ("embed", "__call__")):
            if isinstance(method, FunctionType):
                yield from _globals(method)


def _globals(function: FunctionType) -> Iterator[tuple[str, Any]]:
    known = function.__globals__
    return ((name, known[name]) for name in function.__code__.co_names if name in known)


def _numbered(name: str, values: tuple[Any, ...]) -> Iterator[tuple[str, Any]]:
    return ((f"{name} {number}", value) for number, value in enumerate(values))
