"""What of an OpenAPI document a later one must not take back: paths, answers, and requests that were right before."""

METHODS = {"get", "put", "post", "delete", "patch"}


def breaks(before, after):
    """Return what a client that was made for `before` could trip over in `after`."""
    found = []
    for path, methods in before["paths"].items():
        for method in methods.keys() & METHODS:
            place = f"{method.upper()} {path}"
            if method not in after["paths"].get(path, {}):
                found.append(f"{place} is gone")
                continue
            found += _operation(place, before, methods[method], after, after["paths"][path][method])
    return found


def _operation(place, before, old, after, new):
    required = {_named(parameter) for parameter in new.get("parameters", ()) if parameter["required"]}
    known = {_named(parameter) for parameter in old.get("parameters", ())}
    taken = {_named(parameter) for parameter in new.get("parameters", ())}
    yield from (f"{place} now needs {name}" for name in sorted(required - known))
    yield from (f"{place} takes no {name} any more" for name in sorted(known - taken))
    body = _schema(old.get("requestBody", {}), before), _schema(new.get("requestBody", {}), after)
    if all(body):
        yield from _request(f"{place}: request", *body)
    for status, response in old["responses"].items():
        if status < "400" and status not in new["responses"]:
            yield f"{place} does not answer {status} any more"
        elif status < "400":
            reply = _schema(response, before), _schema(new["responses"][status], after)
            if all(reply):
                yield from _reply(f"{place}: reply {status}", *reply)


def _named(parameter):
    """Return where a parameter stands and its name; that of a header is the same in any case (RFC 9110, 5.1)."""
    name = parameter["name"]
    return parameter["in"], name.lower() if parameter["in"] == "header" else name


def _schema(holder, document):
    """Return the JSON schema of a body with all references resolved, or None."""
    schema = holder.get("content", {}).get("application/json", {}).get("schema")
    return _resolved(schema, document["components"]["schemas"]) if schema else None


def _resolved(schema, schemas, depth=0):
    if isinstance(schema, list):
        return [_resolved(item, schemas, depth) for item in schema]
    if not isinstance(schema, dict) or depth > 8:
        return schema
    if isinstance(schema.get("$ref"), str):
        return _resolved(schemas[schema["$ref"].rpartition("/")[2]], schemas, depth + 1)
    return {name: _resolved(value, schemas, depth) for name, value in schema.items()}


def _request(place, old, new):
    """A request that was right is still right."""
    if "properties" in old or not old:  # of what was not described, nothing can be told
        for name in set(new.get("required", ())) - set(old.get("required", ())):
            yield f"{place} now needs {name}"
    if "properties" in old and "properties" in new:
        for name in old["properties"].keys() - new["properties"].keys():
            yield f"{place} takes no {name} any more"
    if set(old.get("enum", ())) - set(new.get("enum", old.get("enum", ()))):
        yield f"{place} takes fewer values"
    for name in old.get("properties", {}).keys() & new.get("properties", {}).keys():
        yield from _request(f"{place}.{name}", old["properties"][name], new["properties"][name])
    if isinstance(old.get("items"), dict) and isinstance(new.get("items"), dict):
        yield from _request(f"{place}[]", old["items"], new["items"])


def _reply(place, old, new):
    """What a client reads is still there, and of its type."""
    if "properties" in old:
        for name in old["properties"].keys() - new.get("properties", {}).keys():
            yield f"{place} has no {name} any more"
        for name in old["properties"].keys() & new.get("properties", {}).keys():
            yield from _reply(f"{place}.{name}", old["properties"][name], new["properties"][name])
    if isinstance(old.get("type"), str) and isinstance(new.get("type"), str) and old["type"] != new["type"]:
        yield f"{place} is {new['type']} and was {old['type']}"
    if isinstance(old.get("items"), dict) and isinstance(new.get("items"), dict):
        yield from _reply(f"{place}[]", old["items"], new["items"])
