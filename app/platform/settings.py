"""Everything that is set from outside, read from the environment once."""

from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from cryptography.fernet import Fernet
from platformdirs import user_data_path
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from app.platform.database_url import DatabaseUrlError, hosts, parameters
from app.platform.setting_sources import SecretFiles, refuse_unknown


class Settings(BaseSettings):
    """The settings of one process; each field is the environment variable `VOUCHERS_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="VOUCHERS_", extra="ignore", hide_input_in_errors=True)

    database_url: str | None = Field(default=None, validation_alias="DATABASE_URL")
    """PostgreSQL 15 or later. Unset: the embedded one."""
    home: Path = Field(default_factory=lambda: user_data_path("voucher-pools"))
    """Folder of the embedded database."""
    bootstrap_key: SecretStr | None = Field(default=None, min_length=32)
    """An API key with scope `admin` that exists from the first start; rotated or revoked, it stays so."""
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Private hosts or networks which the service may fetch from and send to."""
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = ()
    """Addresses or networks of proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed."""
    public_url: str | None = Field(default=None, pattern=r"^https?://[^\s/?#]+[^\s?#]*$")
    """Where callers reach the service, such as `https://vouchers.example.org`. Unset: as the request names it."""
    max_connections: int = Field(default=4096, ge=1)
    """Most connections of clients to one process."""
    max_connections_per_address: int = Field(default=1024, ge=1)
    """Most connections of one address to one process; trusted proxies have no such bound."""
    traces: bool = False
    """Send traces of requests and of what is sent to others, by OTLP over HTTP, to where OpenTelemetry's own variables
    say (`OTEL_EXPORTER_OTLP_ENDPOINT`). Needs the extra `traces`."""
    log_level: Literal["DEBUG", "INFO", "WARN", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    """Least level that is logged: `DEBUG`, `INFO`, `WARNING`, `ERROR` or `CRITICAL`. `WARNING` drops the line per
    request."""
    database_connections: int = Field(default=10, ge=2)
    """Most connections of each of a process's pools: a web process has two and some more, a worker one and those of
    imports. The sum is in docs/scaling.md."""
    direct_database_url: SecretStr | None = None
    """PostgreSQL itself, where DATABASE_URL leads to a pooler such as PgBouncer: for migrations, jobs and imports."""
    read_database_url: SecretStr | None = None
    """A standby of the database, or all its hosts: serves lists, exports and metrics, which say how old they are
    (`Data-Age`). Unset, or while it is gone: the database itself."""
    read_age_seconds: float = Field(default=10, gt=0)
    """How old at the most what a standby serves may be; beyond that, the database itself serves it."""
    prepared_statements: bool | None = None
    """Whether statements are prepared. Unset: unless there is a pooler in between. One that keeps track of them
    (PgBouncer from 1.21 on) can be told so by `true`."""
    statement_seconds: float = Field(default=3.0, gt=0, allow_inf_nan=False)
    """Longest statement of a request; then it is answered 503, and the connection thrown away."""
    startup_seconds: float = Field(default=60.0, ge=0)
    """How long a start waits for its database."""
    drain_seconds: float = Field(default=3.0, ge=0)
    """How long a process that is told to stop (SIGTERM) goes on serving while `/health/ready` says 503."""
    stop_seconds: float = Field(default=15.0, ge=1, allow_inf_nan=False)
    """How long a process may then take to finish what it has begun."""
    backups: int = Field(default=7, ge=0)
    """Daily backups of the embedded database that `vouchers serve` keeps in `home`; 0 makes none."""
    keep_events_days: int | None = Field(default=None, ge=1)
    """Events of customers that came in so many days ago are deleted: they then count in no aggregate, selection or
    replay, and what they used stays used. Unset: kept for ever."""
    keep_messages_days: int | None = Field(default=None, ge=1)
    """What messages saw beside their codes is deleted so many days after: a repeat then sees the counts and fallbacks
    of its own time, and one that a rule for customers answered is judged anew. Unset: kept for ever."""
    keep_audit_days: int | None = Field(default=None, ge=1)
    """Audit entries are deleted after so many days. Unset: kept for ever."""
    keep_failed_jobs_days: int = Field(default=30, ge=1)
    """Jobs that were given up are kept for so many days."""
    job_concurrency: int = Field(default=4, ge=1)
    """Jobs of one project that one worker runs at the same time; half as many more places are for those of others."""
    clock_tolerance_seconds: float = Field(default=300, ge=0, allow_inf_nan=False)
    """How far a shop's clock may be off when a use is judged by its time."""
    customer_ids: Literal["exact", "lowercase"] = "exact"
    """How ids of customers are read, wherever one comes in: `exact` as they are sent, `lowercase` trimmed and in lower
    case, so that `Anna@Example.org ` is `anna@example.org`. Ids that are stored already stay as they are:
    `vouchers merge-spellings` merges them into those that they are read as."""
    erasure_marks_days: int = Field(default=90, ge=1)
    """How long a keyed mark of each event and message of an erased person is kept, so that a late retry of one does
    not bring the person back."""
    fetch_concurrency: int = Field(default=4, ge=1)
    """Imports of one project from a URL, a database or a storage that one worker runs at the same time, beside its
    other jobs; half as many more places are for those of others."""
    max_upload_bytes: int = Field(default=2 * 1024**3, ge=1)
    """Most bytes of one uploaded import file."""
    max_body_bytes: int = Field(default=32 * 1024**2, ge=1)
    """Most bytes of any other request body."""
    secret_key: SecretStr | None = None
    """Encrypts the sources of imports and the cursors of lists: Fernet keys, separated by commas; the first
    encrypts, all decrypt. Unset: the embedded database keeps one in `home`, an outside one keeps it wrapped."""
    import_folder: Path | None = None
    """Folder whose files and SQLite databases imports may read. Unset: none on this machine."""
    import_chunk_rows: int = Field(default=50_000, ge=1)
    """Rows that an import merges in one transaction; a twentieth of them while processes have many requests."""
    fetch_seconds: float = Field(default=900, gt=0, allow_inf_nan=False)
    """How long it may take to fetch the source of an import."""
    key_cache_seconds: float = Field(default=5.0, ge=0)
    """How long a process remembers a key. It is told at once of a key that was revoked or rotated elsewhere, and
    honours it so long (5 s more while the database does not answer) where that does not reach it."""
    keys_outlive_control_seconds: float = Field(default=600.0, ge=0)
    """While the database of `DATABASE_URL` is away, how long a process goes on honouring the keys it knows of projects
    that live in further databases."""
    smtp_url: SecretStr | None = None
    """Takes the emails of alerts: `smtp://user:password@host:587`, or `smtps://` for TLS from the start."""
    smtp_plaintext: bool = False
    """Lets emails, and the password of `smtp_url`, go unencrypted to a server that offers no TLS."""
    email_from: str | None = None
    """Sender of the emails."""
    alert_retry_seconds: float = Field(default=5.0, gt=0, allow_inf_nan=False)
    """Wait before the second try to deliver an alert; it doubles each time, 15 tries take near a day."""
    render_processes: int = Field(default=2, ge=1)
    """Processes that render templates, of each service process."""
    template_bytes: int = Field(default=256 * 1024, ge=1)
    """Most bytes of a template."""
    template_seconds: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Most processor time that one message may take."""
    template_memory_bytes: int = Field(default=512 * 1024**2, ge=128 * 1024**2)
    """Most memory of a process that renders."""
    template_output_bytes: int = Field(default=1024**2, ge=1)
    """Most bytes of one message."""
    template_iterations: int = Field(default=100_000, ge=1)
    """Most iterations that the loops of one message make together."""
    template_vouchers: int = Field(default=100, ge=1)
    """Most vouchers in one message."""

    @classmethod
    def settings_customise_sources(  # noqa: D102  (Pydantic's hook)
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  (the hook's signature)
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, SecretFiles(settings_cls)

    @property
    def why_no_email(self) -> str | None:
        """Return which of the variables that emails need are not set, in words; None: they are."""
        needed = {"VOUCHERS_SMTP_URL": self.smtp_url, "VOUCHERS_EMAIL_FROM": self.email_from}
        lacking = [variable for variable, given in needed.items() if given is None]
        return f"{' and '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} not set" if lacking else None

    @field_validator("secret_key")
    @classmethod
    def _fernet_keys(cls, keys: SecretStr | None) -> SecretStr | None:
        """Refuse what is no list of Fernet keys at the start, and without printing it."""
        try:
            given = [key.strip() for key in keys.get_secret_value().split(",")] if keys else []
            for key in given:
                Fernet(key)
        except ValueError as error:
            raise ValueError(
                "each key is 32 random bytes in URL-safe base64, as Fernet makes them"
            ) from error
        return keys

    @field_validator("direct_database_url", "read_database_url")
    @classmethod
    def _of_postgresql(cls, url: SecretStr | None) -> SecretStr | None:
        """Refuse what is no URL of PostgreSQL at the start, and without printing it."""
        try:
            if url is not None:
                hosts(parameters(url.get_secret_value()))
        except DatabaseUrlError as error:
            raise ValueError("it cannot be read as a URL of PostgreSQL") from error
        return url

    @field_validator("log_level", mode="before")
    @classmethod
    def _in_capitals(cls, level: object) -> object:
        return level.upper() if isinstance(level, str) else level

    @field_validator("allowed_hosts", "trusted_proxies", mode="before")
    @classmethod
    def _listed(cls, hosts: object) -> object:
        return (
            tuple(host.strip() for host in hosts.split(",") if host.strip())
            if isinstance(hosts, str)
            else hosts
        )

    @property
    def sqlalchemy_url(self) -> str:
        """Return the database URL with the driver that this service uses.

        Raises:
            RuntimeError: no URL is set; the command line starts the embedded server and sets it.
        """
        if self.database_url is None:
            raise RuntimeError("DATABASE_URL is not set, and no embedded PostgreSQL was started")
        scheme, _, rest = self.database_url.partition("://")
        return f"postgresql+psycopg://{rest}" if scheme in {"postgres", "postgresql"} else self.database_url

    @property
    def direct_url(self) -> str:
        """Return the URL that leads to PostgreSQL itself, past a pooler."""
        if self.direct_database_url is not None:
            return self.direct_database_url.get_secret_value()
        return self.sqlalchemy_url


@cache
def get_settings() -> Settings:
    """Return the settings of this process, read at the first call.

    Raises:
        SettingError: a variable looks like a setting and is none, or a file with a secret cannot be read.
    """
    refuse_unknown(Settings)
    return Settings()
