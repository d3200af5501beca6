"""What every store does, here."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from contract import Clock, StoreContract

from marsys_core.protocols.store import Store
from marsys_postgres import PostgresStore


class TestPostgres(StoreContract):
    @pytest.fixture(autouse=True)
    def _server(self, postgres: Any) -> None:
        self.dsn = postgres.dsn

    def opened(self, place: Path, clock: Clock) -> AbstractAsyncContextManager[Store]:
        schema = f"at-{sha256(str(place).encode()).hexdigest()[:12]}"
        return PostgresStore(self.dsn, schema=schema, clock=clock)
