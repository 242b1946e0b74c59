"""Which encoding a text is in, and the text in blocks of whole lines."""

import codecs
import io
import re
import unicodedata
from collections.abc import Iterable, Iterator

from app.domain.imports.errors import UnreadableError

MAX_LINE = 1024**2
"""Most characters of a line: beyond it the file is no list of rows, and is not kept in memory."""

PIECE_BYTES = 128 * 1024
"""So much is decoded at a time: `StringIO` keeps four bytes for each character."""

BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
WITHOUT_ORDER = {"utf-16", "utf-32"}
"""Encodings whose texts begin with a mark that tells the order of their bytes."""
# Western and Central European texts differ in a few bytes; these letters are the usual ones of each.
LATIN = {
    "cp1252": "äöüÄÖÜßéèêëàâçñôîïûùåøæÅØÆíóúáÉ€\u2019",
    "iso8859_2": "ěščřžýáíéůúďťňľĺŕôäöüßóąćęłńśźżőűĚŠČŘŽÝÁÍÉŮÚĎŤŇĽŁŚŹŻŐŰÓÖÜÄ",
    "cp1257": "āčēģīķļņšūžąęėįųŪĀČĒĢĪĶĻŅŠŽĄĘĖĮŲõäöüÕÄÖÜ€\u2019",
    "cp1254": "çğıöşüÇĞİÖŞÜâîû€\u2019",
    "cp1250": "ěščřžýáíéůúďťňľĺŕôäöüßóąćęłńśźżőűĚŠČŘŽÝÁÍÉŮÚĎŤŇĽŁŚŹŻŐŰÓÖÜÄ€\u2019",
}
OTHER = ["cp1251", "koi8_r", "cp1253", "cp1255", "shift_jis", "gb18030", "big5", "euc_kr"]
"""What else is tried where nothing is certain; the rest can be named by the caller."""
NAMES = {
    "cp1252": "windows-1252",
    "cp1250": "windows-1250",
    "cp1251": "windows-1251",
    "cp1253": "windows-1253",
    "cp1254": "windows-1254",
    "cp1255": "windows-1255",
    "cp1257": "windows-1257",
    "iso8859_2": "iso-8859-2",
}
LETTER_IN_UTF8 = re.compile(rb"\xc3[\x80-\xbf]")
"""A Western letter in UTF-8: in Windows-1252 that is `Ã` before a sign, which hardly any text has."""
FEW_LETTERS = 4
_OLD_CONTROLS = re.compile("[\x80-\x9f]")
WORD = re.compile(rb"[A-Za-z\x80-\xff]+")


def detect(sample: bytes) -> str:
    """Return the encoding of a text that begins like this: certain by its marks, else the likeliest."""
    for mark, encoding in BYTE_ORDER_MARKS:
        if sample.startswith(mark):
            return encoding
    if len(sample) > 1 and (sample[1::2].count(0) > len(sample) // 5) != (
        sample[::2].count(0) > len(sample) // 5
    ):
        return "utf-16-le" if sample[1::2].count(0) > sample[::2].count(0) else "utf-16-be"
    if sample.isascii():
        return "utf-8"
    telling = [line for line in sample.splitlines() if not line.isascii()]
    in_utf8 = sum(map(_is_utf8, telling))
    # Other texts are hardly ever valid UTF-8 by chance. Where some lines are, the encoding changes, and
    # reading on in UTF-8 will tell in which line.
    return "utf-8" if in_utf8 >= len(telling) / 10 else _guess(b" ".join(telling))


def named(encoding: str, sample: bytes) -> str:
    """Return the encoding that a caller names for a text that begins like this, with the order of its bytes.

    Raises:
        LookupError: there is none of this name.
        UnreadableError: the order is not in the name, and the text does not show it.
    """
    name = codecs.lookup(encoding).name
    if name not in WITHOUT_ORDER:
        return encoding
    found = detect(sample)
    if not found.startswith(name):
        raise UnreadableError(
            f"The text is not in {encoding}: it does not begin with the byte order mark, and does not look like it."
            f" Leave `encoding` out, or name the order of bytes too, as in {name}-le."
        )
    return found


def is_binary(text: str) -> bool:
    """Return whether what was decoded is no text: too much of it is control characters."""
    start = text[:65536]
    strange = sum(
        unicodedata.category(character) in {"Cc", "Cs"} and not character.isspace() for character in start
    )
    return strange > len(start) / 20


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _guess(sample: bytes) -> str:
    telling = b" ".join(word for word in WORD.findall(sample) if not word.isascii())[:65536]
    high = len(telling) - len(telling.translate(None, bytes(range(128, 256))))
    latin = [encoding for encoding in LATIN if _is_in(sample, encoding)]
    if not latin or (
        high > len(telling) * 0.7 and not _is_repeated(sample)
    ):  # whole words without a Latin letter
        others = [encoding for encoding in OTHER if _is_in(sample, encoding)]
        import charset_normalizer  # noqa: PLC0415  (few files need it, and it takes 3 MiB)

        best = others and charset_normalizer.from_bytes(telling, cp_isolation=others, threshold=0.5).best()
        if best:
            return NAMES.get(best.encoding, best.encoding.replace("_", "-"))
        if others and not latin:
            return NAMES.get(others[0], others[0].replace("_", "-"))
    if not latin:
        return "latin-1"
    best_latin = max(latin, key=lambda encoding: _likelihood(telling, encoding))
    return NAMES[best_latin]


def _is_repeated(sample: bytes) -> bool:
    """Return whether the same one or two letters stand in all lines, as in codes: that is no text in another script."""
    return sample.count(b" ") > 0 and len(set(sample.translate(None, bytes(range(128))))) <= FEW_LETTERS


def _is_in(sample: bytes, encoding: str) -> bool:
    """Return whether a text can be in an encoding: each byte means something, and none a control character of old."""
    try:
        return _OLD_CONTROLS.search(sample.decode(encoding)) is None
    except UnicodeDecodeError:
        return False


def _likelihood(telling: bytes, encoding: str) -> int:
    text = telling.decode(encoding, "replace")
    usual = LATIN[encoding]
    return sum(1 if character in usual else -1 for character in text if not character.isascii())


def lines(blocks: Iterable[bytes], encoding: str, *, guessed: bool = False) -> Iterator[str]:
    """Yield the lines of a text with their ends, whatever those are.

    In Windows-1252 nearly every byte is a letter: where it is only guessed, text in UTF-8 further on is looked for.

    Raises:
        UnreadableError: a byte is not in the encoding, or a line is far too long; it says in which line.
    """
    beware = guessed and encoding == NAMES["cp1252"]
    for text in _whole_lines(_pieces(blocks), encoding, beware=beware):
        yield from io.StringIO(text, newline="")


def _pieces(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the same bytes in small blocks."""
    for block in blocks:
        for start in range(0, len(block), PIECE_BYTES):
            yield block[start : start + PIECE_BYTES]


def _whole_lines(blocks: Iterable[bytes], encoding: str, *, beware: bool) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(encoding)()
    rest, number = "", 1
    begun = False
    for block, last in _with_last(blocks):
        if beware and (place := _where_utf8_begins(block)) is not None:
            number += _breaks(rest + block[:place].decode(encoding, "replace"))
            raise UnreadableError(
                f"Line {number} seems to be in utf-8, and what is before it in {encoding}."
                " Save the file in one encoding, or name the right one in `encoding`."
            )
        try:
            text = rest + decoder.decode(block, final=last)
        except UnicodeDecodeError as error:
            number += _breaks(rest + error.object[: error.start].decode(encoding, "replace"))
            raise UnreadableError(
                f"Line {number} is not in {encoding}: there is a byte 0x{error.object[error.start]:02x}."
                " Name the right encoding in `encoding`, or save the file in one encoding."
            ) from error
        if "\ufeff" in text:  # files that were joined, or one whose encoding was named without its mark
            text = (
                text.replace("\n\ufeff", "\n")
                if begun
                else text.replace("\n\ufeff", "\n").removeprefix("\ufeff")
            )
        begun = begun or bool(text)
        end = len(text) if last else _end_of_lines(text)
        rest = text[end:]
        whole = text[:end]
        if len(rest) > MAX_LINE:
            raise UnreadableError(
                f"Line {number + _breaks(whole)} is longer than {MAX_LINE} characters; that is no row."
            )
        number += _breaks(whole)
        yield whole


def _where_utf8_begins(block: bytes) -> int | None:
    """Return where the first line begins that is in UTF-8, as far as can be told; None where there is none."""
    end = 0
    while match := LETTER_IN_UTF8.search(block, end):
        start, end = block.rfind(b"\n", 0, match.start()) + 1, block.find(b"\n", match.end())
        if end < 0:
            end = len(block)
        if _is_utf8(block[start:end]):
            return start
    return None


def _with_last(blocks: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    for block in blocks:
        yield block, False
    yield b"", True


def _end_of_lines(text: str) -> int:
    """Return where the last whole line ends. A final CR may be half of a line's end."""
    return text.rfind("\n") + 1 or text.rfind("\r", 0, -1) + 1


def _breaks(text: str) -> int:
    return text.count("\n") or text.count("\r")
