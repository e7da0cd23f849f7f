"""`DagsterRayError`: how an error is declared. `dagster_ray.core.errors` has the errors."""

from inspect import Parameter, Signature, get_annotations
from string import Formatter
from typing import Any, ClassVar, cast, dataclass_transform

from typing_extensions import override

from dagster_ray.core.failures import FailureClass

_PARTS = Formatter().parse


@dataclass_transform(eq_default=False)
class DagsterRayError(Exception):
    """Root of every error that dagster-ray itself raises.

    A subclass is a declaration: fields as in a dataclass, some of which many errors have, three texts, and whose
    failure it is. In `problem` and `remedy` a name in braces is a field or a property of the error. An instance's texts
    have the values filled in.

        class NoSlotError(DagsterRayError):
            code = "no-slot"
            failure_class = "infrastructure"
            problem = "{queue} had no free slot within {seconds:g} s."
            remedy = "raise the limit of {queue}."

            queue: str
            seconds: float

    Attributes:
        target: What the error is about, as its display name: `RayJob namespace/name`.
        reason: What is wrong or what happened, as a part of the sentence.
        advice: What to do about this reason.
        variable: The environment variable.
        path: The path of the field.
        name: The backend's name.

    Raises:
        TypeError: The class lacks one of the texts, or a text names neither a field nor a property.
    """

    code: ClassVar[str]
    """Stable identifier of the kind of error; the documentation has a page `errors/<code>`."""
    problem: str
    """What is wrong, in a sentence with the values that matter."""
    remedy: str
    """What the reader can do about it, as an instruction that follows "To fix:"."""
    failure_class: FailureClass = "user"
    """Whose failure it is; a property where the fields decide. Only what infrastructure causes is ever retried by
    `Lifecycle(retry_infrastructure=...)`."""

    __module__ = "dagster_ray.core.errors"
    __signature__: ClassVar[Signature] = Signature()

    def __init_subclass__(cls, **options: object) -> None:
        """Read the declaration, so that a mistake in it fails the import and never hides an error at run time."""
        super().__init_subclass__(**options)
        package, private, _ = cls.__module__.partition("._")
        if private and package.startswith("dagster_ray."):
            cls.__module__ = f"{package}.errors"  # a traceback names the class by where users import it
        cls.__signature__ = Signature([*_fields_of(cls).values()])
        for text in ("code", "problem", "remedy"):
            template = getattr(cls, text, None)
            if not isinstance(template, str):
                raise TypeError(f"{cls.__qualname__} has no text `{text}`")
            for _, name, _, _ in _PARTS(template):
                if name is not None and name not in cls.__signature__.parameters and not hasattr(cls, name):
                    raise TypeError(f"`{text}` of {cls.__qualname__} names {name!r}, which is not a field of it")
            if text != "code":
                setattr(cls, text, _Text(template))

    def __init__(self, *values: Any, **named: Any) -> None:
        """Bind the fields, by position or by name. Type checkers see the fields as parameters."""
        bound = self.__signature__.bind(*values, **named)
        bound.apply_defaults()
        super().__init__(*bound.args)  # an error unpickles by position
        self.__dict__.update(bound.arguments)

    @override
    def __str__(self) -> str:
        return f"{self.problem} To fix: {self.remedy} [dagster-ray: {self.code}]"


def _fields_of(cls: type[DagsterRayError]) -> dict[str, Parameter]:
    """Take the fields of a class, with those that it inherits, from its annotations.

    A default does not stay on the class: Ray derives from the class of a task's error, and looks values up in the
    error only where the class has none.
    """
    fields = dict(cls.__signature__.parameters)
    for name, kind in get_annotations(cls).items():
        if "ClassVar" not in str(kind):
            default = cls.__dict__.get(name, Parameter.empty)
            fields[name] = Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=kind)
            if default is not Parameter.empty:
                delattr(cls, name)
    return fields


class _Text:
    """`problem` or `remedy`: as declared on the class, with the values filled in on an error."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __get__(self, error: DagsterRayError | None, owner: type[DagsterRayError]) -> str:
        """Put the error's values into the text.

        A tuple becomes a list with commas. A value's own period gives way to punctuation that follows it.
        """
        if error is None:
            return self._text
        parts: list[str] = []
        for literal, name, layout, conversion in _PARTS(self._text):
            if parts and literal.startswith((".", ")", ":", ",", ";")):
                parts[-1] = parts[-1].rstrip(".")
            parts.append(literal)
            if name is not None:
                value: object = getattr(error, name)
                if isinstance(value, tuple):
                    value = ", ".join(map(str, cast("tuple[object, ...]", value))) or "none"
                parts.append(format(repr(value) if conversion == "r" else value, layout or ""))
        return "".join(parts)
