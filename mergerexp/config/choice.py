"""A config group that has several schemas, of which one of its keys chooses one."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Choice:
    """The schemas of a config group.

    Attributes
    ----------
    key
        The key of the group that chooses.
    known
        The schemas by the value of the key.
    package
        The name of a package instead. Each of its modules is a value of the key, and the dataclass
        ``Settings`` of the module is the schema, so that a new option takes a new module and nothing else.
    """

    key: str
    known: Mapping[str, type] = field(default_factory=dict)
    package: str | None = None

    @property
    def names(self) -> list[str]:
        """The allowed values of the key."""
        if self.package is None:
            return list(self.known)
        return [found.name for found in pkgutil.iter_modules(importlib.import_module(self.package).__path__)]

    def schema(self, name: str) -> type:
        """Return the schema of one of `names`."""
        if self.package is None:
            return self.known[name]
        schema: type = importlib.import_module(f"{self.package}.{name}").Settings
        return schema

    def schemas(self) -> list[type]:
        """Return the schemas of all `names`."""
        return [self.schema(name) for name in self.names]
