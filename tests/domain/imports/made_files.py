"""Files as people have them, made at random from a seed, each with the codes that are in it.

`python -m tests.domain.imports.made_files 2000` reads so many and tells how often the reader was wrong and asked.
"""

# ruff: noqa: ARG005, RUF001, T201  (each style of codes is called alike; words of many alphabets; a command that prints)
import csv
import io
import random
import string
import sys
import uuid
from collections import Counter
from dataclasses import dataclass

from app.domain.imports.errors import ImportUndecidedError, UnreadableError
from app.domain.imports.merging import reading
from app.domain.imports.reader.table import open_table

# Language: headings of the codes; headings of value, date, e-mail, name, status; a title; a footer; encodings.
LANGUAGES = {
    "en": (
        [
            "Code",
            "Voucher code",
            "voucher_code",
            "promoCode",
            "Coupon",
            "Discount codes 2031",
            "15 % off codes",
            "Serial no.",
            "Voucher number",
            "CODE",
            "codes",
            "Gift card number",
        ],
        ["Value", "Expires", "E-mail", "Name", "Status"],
        "Vouchers, spring campaign",
        "Total: 2,20",
        "cp1252",
    ),
    "de": (
        [
            "Gutscheincode",
            "Gutschein-Nr (neu)",
            "Code",
            "Rabattcode",
            "Aktionscode",
            "GUTSCHEIN",
            "Gutscheinnummer",
        ],
        ["Betrag", "Gültig bis", "E-Mail", "Name", "Status"],
        "Gutscheine für die Frühjahrsaktion",
        "Summe",
        "cp1252",
    ),
    "fr": (
        ["Code promo", "Bon de réduction", "Code de réduction", "code"],
        ["Valeur", "Expire le", "E-mail", "Nom", "État"],
        "Liste des codes d'été",
        "Total : 12",
        "cp1252",
    ),
    "nl": (
        ["Kortingscode", "Waardebon", "Vouchercode", "kortingscodes"],
        ["Bedrag", "Geldig tot", "E-mail", "Naam", "Status"],
        "Kortingen voorjaar",
        "Totaal: 8",
        "cp1252",
    ),
    "es": (
        ["Código", "Código de descuento", "Cupón", "codigo"],
        ["Importe", "Caduca", "Correo", "Nombre", "Estado"],
        "Códigos de la campaña",
        "Total 40",
        "cp1252",
    ),
    "it": (
        ["Codice sconto", "Codice", "Buono sconto", "CODICE PROMO"],
        ["Valore", "Scadenza", "E-mail", "Nome", "Stato"],
        "Buoni di primavera",
        "Totale: 3",
        "cp1252",
    ),
    "pt": (
        ["Código do cupom", "Cupom", "Código promocional"],
        ["Valor", "Validade", "E-mail", "Nome", "Estado"],
        "Códigos de desconto",
        "Total: 7",
        "cp1252",
    ),
    "cs": (
        ["Kód poukazu", "Slevový kód", "Kód", "Kupón"],
        ["Hodnota", "Platnost do", "E-mail", "Jméno", "Stav"],
        "Kódy pro jarní akci",
        "Celkem: 5",
        "cp1250",
    ),
    "sk": (
        ["Zľavový kód", "Kód kupónu", "kod"],
        ["Hodnota", "Platnosť do", "E-mail", "Meno", "Stav"],
        "Jarná akcia",
        "Spolu 4",
        "cp1250",
    ),
    "pl": (
        ["Kod rabatowy", "Kod", "Numer kuponu", "Kod zniżkowy"],
        ["Kwota", "Ważny do", "E-mail", "Imię", "Status"],
        "Kody rabatowe na wiosnę",
        "Razem: 9",
        "cp1250",
    ),
    "ru": (
        ["Промокод", "Кодпромо", "Код купона", "Код"],
        ["Сумма", "Дата", "Почта", "Имя", "Статус"],
        "Коды для весенней акции",
        "Итого: 11",
        "cp1251",
    ),
    "sv": (
        ["Rabattkod", "Kod", "Presentkortsnummer"],
        ["Värde", "Giltig till", "E-post", "Namn", "Status"],
        "Koder för våren",
        "Totalt 6",
        "cp1252",
    ),
    "fi": (
        ["Alennuskoodi", "Koodi", "Lahjakortin numero"],
        ["Arvo", "Voimassa", "Sähköposti", "Nimi", "Tila"],
        "Kevään koodit",
        "Yhteensä: 2",
        "cp1252",
    ),
    "bg": (
        ["Промокод", "Код за отстъпка", "Номер на ваучер"],
        ["Стойност", "Валиден до", "Поща", "Име", "Статус"],
        "Пролетна кампания",
        "Общо: 3",
        "cp1251",
    ),
    "lv": (
        ["Atlaides kods", "Kupona numurs", "Dāvanu karte"],
        ["Vērtība", "Derīgs līdz", "E-pasts", "Vārds", "Statuss"],
        "Pavasara akcija",
        "Kopā: 9",
        "cp1257",
    ),
    "zh": (
        ["优惠码", "代码", "兑换码"],
        ["金额", "有效期", "邮箱", "姓名", "状态"],
        "春季促销",
        "合计: 5",
        "gb18030",
    ),
    "ko": (
        ["쿠폰 번호", "할인 코드", "쿠폰"],
        ["금액", "만료일", "이메일", "이름", "상태"],
        "봄 할인 행사",
        "합계: 7",
        "euc_kr",
    ),
    "tw": (
        ["優惠碼", "折扣代碼", "優惠券號碼"],
        ["金額", "有效期限", "電子郵件", "姓名", "狀態"],
        "春季優惠活動",
        "合計: 5",
        "big5",
    ),
    "he": (
        ["קוד קופון", "קוד הנחה", "מספר שובר"],
        ["ערך", "תוקף", "דואר", "שם", "מצב"],
        "מבצע אביב",
        "סה״כ: 4",
        "cp1255",
    ),
    # left out while the reader was tuned
    "hu": (
        ["Kuponkód", "Kedvezménykód", "Utalványszám"],
        ["Érték", "Lejárat", "E-mail", "Név", "Állapot"],
        "Tavaszi akció kódjai",
        "Összesen: 3",
        "cp1250",
    ),
    "ro": (
        ["Cod reducere", "Codul voucherului", "Cod promoțional"],
        ["Valoare", "Expiră", "E-mail", "Nume", "Stare"],
        "Coduri de primăvară",
        "Total: 33",
        "utf-8",
    ),
    "tr": (
        ["İndirim kodu", "Kupon Kodu", "Hediye kartı"],
        ["Değer", "Son tarih", "E-posta", "İsim", "Durum"],
        "Bahar kampanyası",
        "Toplam: 15",
        "utf-8",
    ),
    "el": (
        ["Κωδικός", "Κωδικός έκπτωσης", "Κουπόνι"],
        ["Αξία", "Λήξη", "E-mail", "Όνομα", "Κατάσταση"],
        "Κωδικοί άνοιξης",
        "Σύνολο: 9",
        "cp1253",
    ),
    "ja": (
        ["クーポンコード", "コード", "割引コード"],
        ["金額", "有効期限", "メール", "名前", "状態"],
        "春のキャンペーン",
        "合計: 5",
        "shift_jis",
    ),
    "uk": (
        ["Промокод", "Код знижки", "Номер сертифіката"],
        ["Сума", "Дійсний до", "Пошта", "Ім'я", "Стан"],
        "Весняні знижки",
        "Разом: 12",
        "cp1251",
    ),
    "lt": (
        ["Nuolaidos kodas", "Kupono kodas", "Dovanų kuponas"],
        ["Vertė", "Galioja iki", "El. paštas", "Vardas", "Būsena"],
        "Pavasario akcija",
        "Iš viso: 20",
        "cp1257",
    ),
}
FRESH_LANGUAGES = {
    "da": (
        ["Rabatkode", "Gavekortnummer", "Kode", "Værdibevis"],
        ["Beløb", "Udløber", "E-mail", "Navn", "Status"],
        "Forårets kampagne",
        "I alt: 12",
        "cp1252",
    ),
    "et": (
        ["Sooduskood", "Kinkekaardi number", "Kood"],
        ["Väärtus", "Kehtib kuni", "E-post", "Nimi", "Olek"],
        "Kevadine kampaania",
        "Kokku 9",
        "cp1257",
    ),
    "hr": (
        ["Kod za popust", "Broj bona", "Promo kod"],
        ["Iznos", "Vrijedi do", "E-pošta", "Ime", "Stanje"],
        "Proljetna akcija",
        "Ukupno: 5",
        "cp1250",
    ),
    "id": (
        ["Kode promo", "Kode diskon", "Nomor voucher"],
        ["Nilai", "Berlaku sampai", "Surel", "Nama", "Keadaan"],
        "Promo musim semi",
        "Jumlah: 7",
        "utf-8",
    ),
    "vi": (
        ["Mã giảm giá", "Mã khuyến mãi", "Số phiếu"],
        ["Giá trị", "Hết hạn", "Thư", "Tên", "Trạng thái"],
        "Khuyến mãi mùa xuân",
        "Tổng: 4",
        "utf-8",
    ),
    "th": (
        ["รหัสส่วนลด", "คูปอง", "โค้ด"],
        ["มูลค่า", "หมดอายุ", "อีเมล", "ชื่อ", "สถานะ"],
        "โปรโมชั่นฤดูร้อน",
        "รวม: 6",
        "cp874",
    ),
}
"""Made when the reader was done, and used for nothing but the last figure."""
HELD_LANGUAGES = ("hu", "ro", "tr", "el", "ja", "uk", "lt")
UPPER = string.ascii_uppercase + string.digits


def _word(r, alphabet, length):
    return "".join(r.choice(alphabet) for _ in range(length))


def _groups(r, alphabet, sizes, between):
    return between.join(_word(r, alphabet, size) for size in sizes)


STYLES = {
    "capitals 8": lambda r, n: _word(r, UPPER, 8),
    "capitals 12": lambda r, n: _word(r, UPPER, 12),
    "groups": lambda r, n: _groups(r, UPPER, (4, 4, 4), "-"),
    "prefix counted": lambda r, n: f"SAVE-{n}",
    "prefix random": lambda r, n: "SPRING-" + _word(r, UPPER, 6),
    "digits 10": lambda r, n: str(r.randint(10**9, 10**10 - 1)),
    "mixed case": lambda r, n: _word(r, string.ascii_letters + string.digits, 10),
    "hex": lambda r, n: _word(r, "0123456789abcdef", 16),
    "letters 8": lambda r, n: _word(r, string.ascii_uppercase, 8),
    "words with numbers": lambda r, n: (
        r.choice(["HELLO", "SUMMER", "FREE", "WELCOME", "EXTRA", "BONUS"]) + str(n * 5 + 5)
    ),
    "letters and digits in turn": lambda r, n: "".join(
        r.choice(string.ascii_uppercase) + _word(r, string.digits, 2) for _ in range(4)
    ),
    "spaces": lambda r, n: _groups(r, string.digits, (4, 4, 4), " "),
    "lower and digits 8": lambda r, n: _word(r, string.ascii_lowercase + string.digits, 8),
    "dots": lambda r, n: _groups(r, UPPER, (3, 3, 3), "."),
    "underscores": lambda r, n: "vip_" + _word(r, string.ascii_lowercase + string.digits, 6),
    "zero-padded": lambda r, n: f"KD{n:05}",
    "digits 14": lambda r, n: str(r.randint(10**13, 10**14 - 1)),
    "signs": lambda r, n: _word(r, string.ascii_letters + string.digits + "!$*", 9),
    # left out while the reader was tuned
    "uuid": lambda r, n: str(uuid.UUID(int=r.getrandbits(128), version=4)),
    "url-safe": lambda r, n: _word(r, string.ascii_letters + string.digits + "-_", 12),
    "slash": lambda r, n: f"{_word(r, string.ascii_uppercase, 2)}/{_word(r, string.digits, 5)}",
    "lower words": lambda r, n: (
        r.choice(["spring", "summer", "winter", "autumn"]) + _word(r, string.digits, 3)
    ),
    "digits 16": lambda r, n: str(r.randint(10**15, 10**16 - 1)),
    "umlauts": lambda r, n: "ÄÖ-" + _word(r, UPPER, 6),
}
FRESH_STYLES = {
    "letters then digits": lambda r, n: _word(r, string.ascii_uppercase, 3) + _word(r, string.digits, 5),
    "stars": lambda r, n: "*" + _word(r, UPPER, 7) + "*",
    "colons": lambda r, n: _groups(r, "0123456789ABCDEF", (2, 2, 2, 2), ":"),
    "lower groups": lambda r, n: _groups(r, string.ascii_lowercase + string.digits, (5, 5), "-"),
    "digits 8": lambda r, n: _word(r, string.digits, 8),
    "year and number": lambda r, n: f"2031-{n:06}",
}
HELD_STYLES = ("uuid", "url-safe", "slash", "lower words", "digits 16", "umlauts")
DELIMITERS = (",", ";", "\t", "|")
AROUND = (
    "",
    "",
    "",
    "comments",
    "title",
    "sep",
    "total",
    "rows",
    "again",
    "again with mark",
    "empty columns",
    "blank lines",
)


@dataclass
class Made:
    """A file, what it is made of, and the codes in it."""

    content: bytes
    codes: list[str]
    made_of: dict[str, object]


def make(seed: int, *, held: bool, fresh: bool = False) -> Made:
    """Make a file; `held`, `fresh`: of the languages and styles that were left out while the reader was tuned."""
    r = random.Random(f"{seed}-{held}")
    language = r.choice(
        [*FRESH_LANGUAGES] if fresh else [name for name in LANGUAGES if (name in HELD_LANGUAGES) == held]
    )
    style = r.choice([*FRESH_STYLES] if fresh else [name for name in STYLES if (name in HELD_STYLES) == held])
    headings, others, title, total, legacy = (LANGUAGES | FRESH_LANGUAGES)[language]
    amount = r.choice([3, 5, 12, 40, 150, 400])
    codes = list(dict.fromkeys((STYLES | FRESH_STYLES)[style](r, n) for n in range(1, amount + 1)))
    heading = r.choice([None, *[r.choice(headings)] * 4])
    if heading and r.random() < 0.2:
        heading = r.choice(
            [heading.upper(), heading.lower(), heading + " 2031", f"{heading} ({r.randint(1, 9)})"]
        )
    beside = r.sample(range(7), r.choice([0, 0, 1, 2, 4]))
    place = r.randint(0, len(beside))
    header = None
    if heading:
        names = [others[0], others[1], others[2], others[3], others[4], "#", "URL"]
        header = [names[column] for column in beside]
        header.insert(place, heading)
    rows = []
    for n, code in enumerate(codes):
        row = [_beside(r, column, n) for column in beside]
        row.insert(place, code)
        rows.append(row)
    around = r.choice(AROUND)
    delimiter = r.choice(DELIMITERS)
    quoting = r.choice([csv.QUOTE_MINIMAL, csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
    end = r.choice(["\n", "\r\n"])
    body = ([header] if header else []) + rows
    encoding = r.choice(["utf-8", "utf-8-sig", "utf-16", legacy])
    if around == "again with mark" and not encoding.startswith("utf"):
        around = "again"
    if around in {"again", "again with mark"} and header and len(rows) > 4:
        body.insert(
            len(body) // 2, ["\ufeff" + header[0] if around == "again with mark" else header[0], *header[1:]]
        )
    if around == "empty columns":
        body = [[*row, "", ""] for row in body]
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator=end).writerows(body)
    text = text.getvalue()
    before = {
        "comments": f"# {title}{end}# 2031-04-01{end}",
        "title": f"{title}{end}{end}",
        "sep": f"sep={delimiter}{end}",
        "blank lines": end * 2,
    }.get(around, "")
    after = {
        "total": total + end,
        "rows": f"{len(rows)} rows{end}",
        "blank lines": end * 3,
    }.get(around, "")
    text = before + text + after
    try:
        content = text.encode(encoding)
    except UnicodeEncodeError:
        encoding = "utf-8"
        content = text.encode()
    made_of = {
        "seed": seed, "language": language, "style": style, "heading": heading, "around": around, "beside": beside,
        "place": place, "delimiter": delimiter, "encoding": encoding, "rows": len(rows),
    }  # fmt: skip
    return Made(content, codes, made_of)


def _beside(r: random.Random, column: int, n: int) -> str:
    return [
        r.choice(["5", "10", "20 %", "19,90", "7.50"]),
        f"20{r.randint(31, 39)}-{r.randint(1, 12):02}-{r.randint(1, 28):02}",
        f"{r.choice(['anna', 'ben', 'zoe'])}{n}@example.org",
        r.choice(["Anna Meyer", "Ben Novák", "Zoë Smith", "Émile Petit"]),
        r.choice(["new", "used"]),
        str(n + 1),
        f"https://shop.example.org/v/{n}",
    ][column]


def read(content: bytes, **options: object) -> tuple[list[str], list[str]]:
    """Read a file as an import does: the codes taken, and the values told of."""
    table = open_table(io.BytesIO(content), reading.format_of(options))
    sorter = reading.sorter(table, options)
    staged, told = {}, []
    for batch in table.batches:
        done = sorter.sort(batch)
        for share in done.shares:
            for row in share:
                line, code, _ = row.split("\t")
                staged[int(line)] = code.replace("\\\\", "\\")
        told += [reject.value for reject in done.rejects]
    told += [staged.pop(line) for line in sorter.unlike() if line in staged]
    return [staged[line] for line in sorted(staged)], told


def judge(made: Made) -> tuple[str, str]:
    """Return what became of a file: `right`, `wrong`, `asked` or `aside` (a good code was set aside), and why."""
    try:
        taken, told = read(made.content)
    except ImportUndecidedError as error:
        return "asked", error.detail
    except UnreadableError as error:
        return "wrong", error.detail
    invented = set(taken) - set(made.codes)
    lost = set(made.codes) - set(taken) - set(told)
    if invented or lost:
        return "wrong", f"invented {sorted(invented)[:3]}, lost {sorted(lost)[:3]}"
    aside = set(made.codes) & set(told)
    return ("aside", f"set aside {sorted(aside)[:3]}") if aside else ("right", "")


def main(amount: int, show: int = 0) -> None:
    """Tell the figures of so many files, and of those that were held out apart."""
    for name in ("tuned on", "held out", "fresh"):
        figures = Counter()
        for seed in range(amount // 3):
            made = make(seed, held=name != "tuned on", fresh=name == "fresh")
            outcome, why = judge(made)
            figures[outcome] += 1
            if outcome != "right" and sum(figures.values()) - figures["right"] <= show:
                print(outcome, made.made_of, why[:300])
        files = sum(figures.values())
        shares = ", ".join(
            f"{outcome} {figures[outcome] / files:.2%}" for outcome in ("wrong", "asked", "aside")
        )
        print(f"{name}: {files} files, {shares}")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
