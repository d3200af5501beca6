"""The engine of MARSYS: a sans-I/O orchestrator, a Trio shell, a journal, and hook specifications."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pluggy

    from marsys_core.plugins.providers import Provider

    hookimpl: pluggy.HookimplMarker

__version__ = "0.1.0"
__all__ = ["Provider", "__version__", "hookimpl"]


def __getattr__(name: str) -> object:
    # Made on first access: an application that never writes a plugin does not pay for pluggy.
    if name == "hookimpl":
        import pluggy

        value: object = pluggy.HookimplMarker("marsys")
    elif name == "Provider":
        from marsys_core.plugins import providers

        value = providers.Provider
    else:
        msg = f"module 'marsys_core' has no attribute {name!r}"
        raise AttributeError(msg)
    globals()[name] = value
    return value
