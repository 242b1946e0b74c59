"""Templates that are made for the context of their campaign say what they say without that, to the letter."""

import random

import pytest
from jinja2 import nodes

from app.domain.rendering.confined import worker
from app.domain.rendering.confined.fixed import Counters, write_in
from app.domain.rendering.confined.sandbox import COUNTED, COUNTED_AT_ONCE, MessageEnvironment, Templates

CONTEXT = {
    "title": "Spring & <sale>",
    "n": 3,
    "rate": 0.5,
    "on": True,
    "off": False,
    "none": None,
    "empty": [],
    "words": ["a", "<b>", 3, None],
    "shop": {"name": "O'Neil", "items": "a property", "tags": ["x", "y"]},
    "products": [
        {"name": f"Product <{n}>", "price": 9.9 + n, "sale": n % 2 == 0, "sizes": ["S", "M"][: n % 3]}
        for n in range(4)
    ],
}
LIMITS: worker.Limits = {"seconds": 5, "vouchers": 50, "iterations": 60, "output_bytes": 100_000}
VALUES = [
    *("context.title", "context['n']", "context.rate", "context.on", "context.none", "context.nope"),
    *(
        "context.shop.name",
        "context.shop.items",
        "context.shop.nope.deep",
        "context.words[1]",
        "context.words[9]",
    ),
    *("context.products[1].name", "context.products[0]['price']", "customer.name", "customer.nope", "'<i>'"),
]
OF_LOOPS = [
    *(
        "p.name",
        "p['price']",
        "p.sale",
        "p.nope",
        "p",
        "p.sizes",
        "loop.index",
        "loop.first",
        "loop.revindex0",
    ),
    *("loop.cycle('odd', 'even')", "loop.length", "loop.previtem", "loop.cycle(p.name, 'x')", "loop"),
]
FILTERS = [
    *(
        "upper",
        "urlencode",
        "json",
        "length",
        "default('d')",
        "string | safe",
        "replace('a', 'b')",
        "list",
        "e",
    ),
    *("md5", "random", "first", "join('-')", "round(1)", "bool"),
]
LISTS = [
    "context.products",
    "context.words",
    "context.shop.tags",
    "context.empty",
    "context.nope",
    "customer.tags",
]
HARD = [
    "{% for p in context.products %}{% for p in context.words %}{{ p }}{% endfor %}{{ p.name }}{% endfor %}",
    "{% for p in context.products %}{% for s in p.sizes %}{{ loop.index }}{{ s }}{{ p.name }}{% endfor %}{% endfor %}",
    "{% for p in context.products %}{% set x = p.name %}{{ x }}{% endfor %}{{ x }}",
    "{% for p in context.products if p.sale %}{{ loop.index }}{{ p.name }}{% else %}none{% endfor %}",
    "{% for p in context.products %}{% if p.sale %}{% continue %}{% endif %}{{ p.name }}{% endfor %}",
    "{% for p in context.products %}{{ p.name }}{% break %}{% endfor %}",
    "{% set context = {'title': 'other'} %}{{ context.title }}{% for p in context.products %}{{ p }}{% endfor %}",
    "{% macro m(context) %}{{ context.title }}{% endmacro %}{{ m({'title': 'mine'}) }}{{ context.title }}",
    "{% macro m(p) %}{{ p.name }}{{ context.n }}{% endmacro %}{% for p in context.products %}{{ m(p) }}{% endfor %}",
    "{% with context = {'n': 1} %}{{ context.n }}{% endwith %}{{ context.n }}",
    "{% for context in context.products %}{{ context.name }}{% endfor %}",
    "{% for loop in context.words %}{{ loop }}{% endfor %}",
    "{% for a, b in context.shop.items() %}{{ a }}={{ b }};{% endfor %}",
    "{% for p in context.products %}{% do context.words.append(1) %}{% endfor %}",
    "{% set l = [] %}{% for p in context.products %}{% do l.append(p) %}{% endfor %}{{ l | json }}",
    "{% for p in context.products recursive %}{{ p.name }}{% endfor %}",
    "{% for p in context.products %}{{ vouchers['p'].assign_available(cached=False) }} {{ p.name }}{% endfor %}",
    "{% for p in context.products %}{{ p.name }}{% if loop.last %}{% abort 'no' %}{% endif %}{% endfor %}",
    "{% for p in context.products %}{% for q in p %}{% for r in context.products %}{{ r }}"
    + 3 * "{% endfor %}",
    "{% for p in context.words %}\n{{ p.upper() }}\n{{ 1 // (loop.index - 3) }}{% endfor %}",
    "{% if context.n > 2 and context.on %}yes{% elif context.nope %}maybe{% else %}no{% endif %}",
    "{% if context.title < 1 %}{% else %}{% endif %}",
    "{% if not context.off %}{% if customer.name == context.title %}a{% else %}b{% endif %}{% endif %}",
    "{% if customer.x %}1{% elif context.off %}2{% elif context.on %}3{% elif customer.name %}4{% else %}5{% endif %}",
    '{% for p in context.products %}<script>x={{ p.name | json }}</script><a b="{{ p.name | json }}">{% endfor %}',
    "{{ context }}{{ context | length }}{{ context.items() | list | length }}{{ 'title' in context }}",
    "{{ context.title ~ context.n ~ customer.name }}{{ context.n ** 2 }}{{ -context.n }}{{ context.title[0] }}",
    "{% filter upper %}{{ context.title }}{% endfilter %}{% set t %}{{ context.title }}{% endset %}{{ t }}",
    "{% autoescape false %}{{ context.title }}{% endautoescape %}{{ context.title }}",
    "{% call(p) m() %}{{ p }}{% endcall %}{% macro m() %}{{ caller(context.title) }}{% endmacro %}",
    "{{ context.products | map(attribute='nope') | list }}{{ context.products | sort(attribute='price') | length }}",
    "{{ context.title.upper }}",
    "{{ context.nope.deep }}{{ context.none }}{{ context.none.x }}",
    "{% for p in context.products %}{{ context.products[loop.index0].name }}{{ p[loop.index] }}{% endfor %}",
    "{% for p in context.products %}{{ [p, p.sizes] | json }}{{ {'k': p} | json }}{% endfor %}",
]


@pytest.mark.parametrize("template", HARD)
def test_what_has_names_of_its_own_stays_as_it_is(template):
    for html in (True, False):
        for strict in (True, False):
            assert told(template, html, strict, many=1) == told(template, html, strict, many=10**9)


@pytest.mark.parametrize("seed", range(8))
def test_any_template_says_the_same(seed):
    chance = random.Random(seed)
    for _ in range(12):
        template = block(chance, 3, in_loop=False)
        assert told(template, True, False, many=1) == told(template, True, False, many=10**9), template


@pytest.mark.parametrize(
    ("template", "loops", "reads"),
    [
        ("{% for p in context.products %}{{ p.name }}{{ loop.index }}{% endfor %}", 0, 0),
        (
            "{% for p in context.products %}{% for w in context.words %}{{ w }}{% endfor %}{% endfor %}",
            0,
            4 * 2,
        ),
        ("{% for p in context.products %}{% if p.sale %}{{ customer.name }}{% endif %}{% endfor %}", 0, 2),
        ("{% for p in context.products if p.sale %}{{ context.title }}{% endfor %}", 1, 2),
        ("{% for p in customer.list %}{% for w in context.shop.tags %}{{ w }}{% endfor %}{% endfor %}", 1, 1),
    ],
)
def test_what_is_one_for_all_is_written_in(template, loops, reads):
    environment = MessageEnvironment(autoescape=True)
    tree = environment.parse(template)
    write_in(environment, tree, CONTEXT, Counters(COUNTED, COUNTED_AT_ONCE))
    assert len(list(tree.find_all(nodes.For))) == loops
    assert len(list(tree.find_all((nodes.Getattr, nodes.Getitem)))) == reads


def test_long_loops_stay_loops():
    context = {"many": list(range(5000))}
    environment = MessageEnvironment(autoescape=True)
    tree = environment.parse("{% for x in context.many %}{{ x }}{% endfor %}")
    write_in(environment, tree, context, Counters(COUNTED, COUNTED_AT_ONCE))
    assert len(list(tree.find_all(nodes.For))) == 1


def test_a_context_is_told_from_one_that_only_looks_equal():
    templates = Templates()
    shown = [
        worker._answer(templates, job("{{ context.x }}", context={"x": x}, items=100), LIMITS)["results"][0][
            "texts"
        ]
        for x in (1, True, 1.0, "1")
    ]
    assert shown == [["1"], ["True"], ["1.0"], ["1"]]


def block(chance: random.Random, depth: int, *, in_loop: bool) -> str:
    return "\n".join(part(chance, depth, in_loop=in_loop) for _ in range(chance.randint(1, 3)))


def part(chance: random.Random, depth: int, *, in_loop: bool) -> str:
    value = chance.choice(VALUES + OF_LOOPS * 2 if in_loop else VALUES)
    kind = chance.random()
    if depth and kind < 0.3:
        inner = block(chance, depth - 1, in_loop=True)
        goes_over = chance.choice([*LISTS, "p.sizes"] if in_loop else LISTS)
        variable = chance.choice(["p", "p", "q"])
        return f"{{% for {variable} in {goes_over} %}}{inner}{{% else %}}none{{% endfor %}}"
    if depth and kind < 0.5:
        inner, other = (block(chance, depth - 1, in_loop=in_loop) for _ in range(2))
        test = chance.choice(
            [value, f"not {value}", f"{value} == 3", f"{value} and context.on", f"{value} | bool"]
        )
        return f"{{% if {test} %}}{inner}{{% elif {value} %}}-{{% else %}}{other}{{% endif %}}"
    if kind < 0.6:
        return f"<a href='{{{{ {value} }}}}'>text</a>"
    return f"{{{{ {value} | {chance.choice(FILTERS)} }}}}" if kind < 0.9 else f"{{{{ {value} }}}}"  # fmt: skip


def told(template: str, html: bool, strict: bool, many: int) -> worker.Answer:
    """Render a template with or without writing the context into it."""
    before, worker.MANY = worker.MANY, many
    try:
        return worker._answer(Templates(), job(template, html, strict), LIMITS)
    finally:
        worker.MANY = before


def job(
    template: str, html: bool = True, strict: bool = False, context: object = CONTEXT, items: int = 2
) -> worker.Job:
    return {
        "parts": [(None, template, html)],
        "preview": False,
        "strict": strict,
        "time": 1.0,
        "context": context,
        "campaign_id": None,
        "channel": None,
        "aggregates": {},
        "pools": {
            "p": {
                "codes": [f"code-{n}" for n in range(40)],
                "valid_for": 0,
                "short": None,
                "looked_up": -1,
                "counts": None,
                "similar": None,
                "limits": None,
            }
        },
        "seen_known": True,
        "items": [
            {
                "message": f"m{n}",
                "customer_id": f"c{n}",
                "new": True,
                "customer": {"name": f"<{n}>", "tags": ["t"]},
            }
            for n in range(items)
        ],
    }
