"""What people write of a field as if it were a tensor or an object of derivatives, and the line to write instead. Must not know where fields come from."""

from typing import Any, NoReturn


class ToldInField:
    """The part of `inputgrad.Field` that names the right line where an equation is written in another library's way."""

    def __getitem__(self, which: str | int) -> Any:
        """``u["p"]``, ``u[2]``: one of several outputs, as `part`."""
        if not isinstance(which, (str, int)):  # x[:, 0] of a function of the points
            raise TypeError(
                f"a callable is given the field, not the points: write u.coordinate({self.names[0]!r}) for the values [N] of a coordinate, in place of a "
                "column such as x[:, 0]"
            )
        return self.part(which)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        if name.startswith("_"):  # set in the constructor; asked for too early
            raise AttributeError(name)
        if name in self.names:
            raise AttributeError(
                f"a field has no attribute {name!r}: the coordinate's values are u.coordinate({name!r}), the derivative by it is u.d({name!r})"
            )
        letters = name.lstrip("du").strip("_")
        if letters and set(letters) <= set("".join(self.names)):
            raise AttributeError(f"a field has no attribute {name!r}: the derivative is u.d({letters!r}), a call with the coordinates' names")
        raise AttributeError(f"a field has no attribute {name!r}: its values are u.value, its derivatives u.d({self.names[0]!r}), its outputs u.part(0)")

    def _as_a_tensor(self, *_others: Any) -> NoReturn:
        raise TypeError(f"a field is no tensor: write u.value for its values, as in u.value * u.d({self.names[0]!r}), and of several outputs u.part(0).value")

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __pow__ = __rpow__ = __neg__ = __matmul__ = _as_a_tensor

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> NoReturn:
        raise TypeError(f"{getattr(func, '__name__', 'this function')} of a field: write u.value for its values, as in torch.sin(u.value)")
