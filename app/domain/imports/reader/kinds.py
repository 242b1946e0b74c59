"""What a file is that is no list of rows: told by how it begins."""

import re

from app.domain.imports.errors import UnreadableError

_SIGNATURES = {
    b"%PDF-": "a PDF document",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"GIF8": "a picture",
    b"{\\rtf": "a document of a word processor (RTF)",
    b"Rar!": "a RAR archive",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an XZ archive",
    b"(\xb5/\xfd": "a Zstandard archive",
    b"SQLite format 3": "a database of SQLite",
    b"PAR1": "a Parquet file",
    b"\x1f\x8b": "packed twice (an archive in an archive)",
    b"PK\x03\x04": "packed twice (an archive in an archive)",
    b"-----BEGIN ": "a key or certificate",
}
# No text may be parted in more than one way: the search would take time beyond all measure.
_HTML = re.compile(
    r"\s*+(?:<!--(?>.*?-->)\s*+)*+<(!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL
)
_LOGIN = re.compile(
    r"<input[^<>]+type\s*=\s*[\"']?password|<title>[^<]*(log\s?-?in|sign\s?-?in|anmeld)", re.IGNORECASE
)
_XML = re.compile(r"\s*(<\?xml\b|<(rss|feed|urlset|error|soap:Envelope)\b)", re.IGNORECASE)
_JSON = re.compile(r"\s*(\{\s*(\"|\})|\[\s*(\{|\"|\[\s*\"|\]))")
_SQL = re.compile(
    r"\s*+(?:(?:--[^\n]*+|/\*(?>.*?\*/))\s*+)*+"
    r"(insert\s+into\s|create\s+table\s|copy\s+[\w.\"]+\s*\([^)]*\)\s*from\s)",
    re.IGNORECASE | re.DOTALL,
)
_MAIL = re.compile(r"(received|return-path|mime-version|delivered-to): .", re.IGNORECASE)


def refuse_bytes(start: bytes) -> None:
    """Refuse what its first bytes show to be no text.

    Raises:
        UnreadableError: it is such; it says what.
    """
    for signature, kind in _SIGNATURES.items():
        if start.startswith(signature):
            raise UnreadableError(f"The file is {kind}, not a list of codes. {ADVICE}")


def refuse_text(start: str) -> None:
    """Refuse a text that is another kind of document.

    Raises:
        UnreadableError: it is such; it says what.
    """
    start = start.lstrip("\ufeff")
    if _HTML.match(start):
        kind = "a login page (HTML); the address wants a sign-in" if _LOGIN.search(start) else "an HTML page"
    elif _XML.match(start):
        kind = "an HTML page" if re.search(r"<html\b", start[:2000], re.IGNORECASE) else "an XML document"
    elif _JSON.match(start) and re.search(r"[\]}]\s*$|[{\[,:]\s*$|\":", start[:100_000]):
        kind = "JSON"
    elif _SQL.match(start):
        kind = "SQL"
    elif _MAIL.match(start):
        kind = "an e-mail message"
    else:
        return
    raise UnreadableError(f"The file is {kind}, not a list of codes. {ADVICE}")


ADVICE = "Give a file of rows: text (CSV), or a spreadsheet."
