"""Where the first generation had ``current_scope``."""

from cog.scope import Scope, current_scope, emit_metric

__all__ = ["Scope", "current_scope", "emit_metric"]
