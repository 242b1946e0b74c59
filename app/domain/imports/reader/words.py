"""Words of headings and footers, in the languages of those who send files.

No list of words is complete: it settles only what the shape of the values leaves open.
"""

import re
import unicodedata


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


LOOKED_AT = 300
"""Characters of a cell that are looked at: no heading has more."""
SHORT = 3
"""Letters of a word that is looked for as a whole only."""
CODE = frozenset(
    _words("""
    cod code codes codi codice codici codigo codigos codis cods codul coduri kod koda kodai kodar kodas kode koden
    koder koderna kodes kodi kodok kodova kods kodu kody kood koodi koodid koodit mã κωδ κωδικοι κωδικος код
    кодове кодови коды קוד رمز รหัส コード 代码 代碼 코드
""")
)
"""Whole words for a code."""
VOUCHER = _words("""
    voucher vaucher coupon kupon cupon cupom kuponk kupong promo gutschein rabatt rabat discount korting poukaz
    aktion sconto buono buoni descuento desconto reducere reduct reduction remise cadeau kado gavekort presentkort
    lahjakort alennus slev zlav popust kedvezm utalvan indirim hediye ваучер купон промокод промо скидк знижк
    εκπτω κουπον κουπονι 优惠 折扣 優惠 クーポン 쿠폰 할인 قسيمة שובר קופון darceko darcek tegoed bono vale kinkekaart
    kingitus
    nuolaid atlaid darbnisk darilni bon dovana dovanu dāvan kupona voher waardebon geschenk werbe aktionscode gift
    подар отстъпка ваучери
""")
"""Beginnings and parts of words for a voucher."""
NUMBER = frozenset(
    _words("""
    barcode broj card carte cisla cislo ean id kaart karta karte key keys licence license no nr num numar numara
    numarul number numbers numer numeris numero numeros nummer nummern numri numurs n° pin seri serial serie
    seriennummer serienummer series stevilka szam tarjeta token αριθμος номер номера מספר رقم 号码 番号 번호
""")
)
"""Whole words that may go with a code, or stand for one."""
OTHER = _words("""
    value wert betrag amount importe valor valeur montant monto hodnota castka suma summe kwota wartosc waarde
    bedrag varde belopp verdi belob arvo ertek osszeg deger tutar cena prix preis price precio prezzo pris hinta
    сумма значение стоимость цена αξια ποσο 金额 値 금액 status stav stan zustand estado stato etat tila durum
    состояние date datum fecha data scad expir expira gueltig gultig valid platn wazn verfall ablauf geldig
    vervalt giltig gyldig utgang vanhen ervenyes lejar gecerl дата действ λήξη ληξη 日期 有効 만료 name nom nombre nome
    jmeno nazwa imie naam namn navn nimi nev isim имя название ονομα 名 이름 email mail e-mail correo posta customer
    kunde kunden kund cliente client klient zakaznik asiakas ugyfel musteri клиент πελατης 客 고객 order bestell user
    benutzer percent prozent procent currency wahrung waluta mena moneda valuta devise type typ tipo campaign
    kampagne kampan campana kampania kampanja country land pays pais kraj zeme stadt city ort description
    beschreibung popis opis note notiz poznamka komentar created used redeemed start ende end from until to von
    bis url link sku product produkt article artikel menge quantity qty anzahl count pocet ilosc store filiale
    shop channel kanal region area zip plz post lang language batch segment gruppe group
""")
"""Parts of words for what stands beside a code."""
FILLERS = frozenset(
    _words("""
    and autumn da das de del der des di die do du for in la le les list liste neu new nouveau nový nuevo of off
    per pro spring summer the van voor winter
""")
)
"""Words of headings that say nothing."""
PLACEHOLDERS = frozenset(
    _words("""
    #div/0! #n/a #name! #name? #null! #num! #nv #ref! #value! (blank) (empty) (none) (null) - -- --- . ... <null>
    ? empty k.a. missing n.a. n.v. n/a na nan nil none null tbd todo undefined – — …
""")  # noqa: RUF001  (dashes of every kind)
)
"""What stands in a cell for nothing, in lower case."""
NOT_THE_CODE = re.compile(
    r"country|currency|zip|postal|postcode|product|produkt|article|artikel|status|area|lang|store|sku|plz|typ|tipo|name"
    r"|value|wert|betrag|amount|date|datum|valid|customer|kunde|klient|client|cliente|user|mail|order|price|percent|prozent"
    r"|descri|desc$|campaign|kampa|batch|url|link|\bcount\b|qty|quantity|used|expire|state|error|response|color|colour",
    re.IGNORECASE,
)
TOTALS = re.compile(
    r"(grand\s)?(totals?|summe|gesamt(summe)?|somme|totale|totaal|suma|sum|celkem|celkom|razem|osszesen|összesen"
    r"|итого|всего"
    r"|σύνολο|合計|合计|toplam|yhteensä|totalt|ukupno|skupaj|kokku|iš viso|kopā|count|anzahl"
    r"|rows?|zeilen|end( of (file|list))?|eof)"
    r"(\b.*)?",
    re.IGNORECASE,
)


def plain(text: str) -> str:
    """Return a text in lower case without accents, for comparison with lists of words."""
    split = unicodedata.normalize("NFKD", text.casefold())
    return "".join(character for character in split if not unicodedata.combining(character))


def is_placeholder(value: str) -> bool:
    """Return whether a value says that there is none."""
    return len(value) <= 11 and value.casefold() in PLACEHOLDERS  # noqa: PLR2004  (the longest of them)


def words_of(cell: str) -> list[str]:
    """Return the words of a heading, in plain letters; `promoCode` has two."""
    apart = re.sub(r"(?<=[a-z\u00df-\u00ff])(?=[A-Z])", " ", cell[:LOOKED_AT])
    return re.findall(r"[^\W\d_]+", plain(apart))


def names_voucher(cell: str) -> bool:
    """Return whether a heading has a word for a voucher in it."""
    return any(
        part in word for word in words_of(cell) for part in VOUCHER if len(part) > SHORT or part == word
    )


def names_code(cell: str) -> bool:
    """Return whether a heading has a word for a code in it, also as the end of a longer word."""
    return any(
        word in CODE
        or (
            len(word) > SHORT + 1
            and re.search(
                r"(code|kod|codigo|codice|koodi|kood|код|codes|kode|kody|koda|kodu|kodas|koder|kods|cod)$",
                word,
            )
        )
        for word in words_of(cell)
    )


def names_number(cell: str) -> bool:
    """Return whether a heading has a word for a number or a card in it."""
    return any(
        word in NUMBER or word.endswith(("nummer", "number", "numer", "numero")) for word in words_of(cell)
    )


def names_other(cell: str) -> bool:
    """Return whether a heading has a word for what stands beside a code."""
    return any(
        word == part or (len(part) > 3 and word.startswith(part)) or (len(part) > 5 and part in word)  # noqa: PLR2004
        for word in words_of(cell)
        for part in OTHER
    )


def is_heading(cell: str) -> bool:
    """Return whether each word of a cell is one of headings, and at least one is there."""
    if re.search(r"\d[^\W\d]|[^\W\d]\d", cell):
        return False
    found = [word for word in words_of(cell) if len(word) > 1 and word not in FILLERS]
    return bool(found) and all(map(_known, found))


def has_heading_word(cell: str) -> bool:
    """Return whether some word of a cell is one of headings."""
    return any(map(_known, words_of(cell)))


def _known(word: str) -> bool:
    return names_code(word) or names_voucher(word) or names_number(word) or names_other(word)
