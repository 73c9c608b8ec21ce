"""Generates schema/aws.json: the resources that infra/ uses, with their arguments.

    npm pack @cdktf/provider-aws@21.22.1 && tar xzf cdktf-provider-aws-*.tgz
    python3 infra/tests/schema.py package/lib

The npm package is generated from the AWS provider's schema (version 6.25.0). Run
this when a configuration uses a type that is not in schema/aws.json yet.
"""

import json
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
PLAIN = {"string": "string", "boolean": "bool", "number": "number"}
ENTRY = re.compile(
    r"^ +(\w+): \{\n +value: (.+?),\n +isBlock: (true|false),\n"
    r' +type: "(\w+)",\n +storageClassType: "(\w+)",\n +\},', re.M | re.S)


def used():
    """Returns the types used in the configurations; data sources begin with "data."."""
    found = set()
    for path in [*HERE.parent.glob("*/*.tf"), *HERE.parent.glob("*/tests/*.hcl")]:
        for kind, name in re.findall(r'^\s*(resource|data|mock_resource|mock_data) "(aws_\w+)"',
                                     path.read_text(), re.M):
            found.add(("data." if kind.endswith("data") else "") + name)
    return sorted(found)


def attribute(kind, storage):
    """Returns Terraform's type of an attribute."""
    many = re.fullmatch(r"(string|boolean|number)(List|Map|MapList)", storage)
    if storage in PLAIN:
        return PLAIN[storage]
    if not many:
        return "dynamic"
    element = PLAIN[many[1]]
    if many[2] == "Map":
        return ["map", element]
    if many[2] == "MapList":
        return ["list", ["map", element]]
    return ["set" if kind == "set" else "list", element]


def needed(declarations, interface):
    """Returns the required arguments of an interface, in camel case."""
    body = re.search(r"export interface %s [^{]*\{(.*?)\n\}" % interface, declarations, re.S)
    return set(re.findall(r"^    readonly (\w+):", body[1], re.M)) if body else set()


def block(code, declarations, body, interface):
    """Returns attributes and nested blocks of a block."""
    required = needed(declarations, interface)
    found = {"attributes": {}, "blocks": {}}
    for name, value, is_block, kind, storage in ENTRY.findall(body):
        camel = re.search(r"(?:this\._|struct\.)(\w+)", value)
        must = bool(camel) and camel[1] in required
        if is_block == "false":
            found["attributes"][name] = {"type": attribute(kind, storage), "required": must}
            continue
        function = re.search(r"(\w+)ToHclTerraform", value.split("HclTerraform")[0].split("(")[-1]
                             + "HclTerraform")
        inner = {"attributes": {}, "blocks": {}}
        text = function and re.search(
            r"^function %sToHclTerraform\(struct\) \{(.*?)^\}" % function[1], code, re.M | re.S)
        if text:
            inner = block(code, declarations, text[1], function[1][0].upper() + function[1][1:])
        nesting = {"struct": "single", "set": "set", "map": "map"}.get(kind, "list")
        single = nesting != "single" and "listMapperHcl" not in value
        found["blocks"][name] = {"nesting": nesting, "min": int(must), "max": int(single), **inner}
    return found


def read(library, name):
    """Returns the schema of one type."""
    data = name.startswith("data.")
    directory = ("data-" if data else "") + name.removeprefix("data.").replace("_", "-")
    directory = directory.replace("data-aws-", "data-aws-") if data else directory.removeprefix("aws-")
    code = (library / directory / "index.js").read_text()
    declarations = (library / directory / "index.d.ts").read_text()
    top = code[code.index("synthesizeHclAttributes"):]
    interface = re.search(r"interface (\w+) extends cdktf.TerraformMetaArguments", declarations)[1]
    schema = block(code, declarations, top, interface)
    # Attributes that only the provider sets appear as getters of the class.
    own = code[code.rindex("extends cdktf.Terraform"):]
    kinds = {"String": "string", "Number": "number", "Boolean": "bool",
             "List": ["list", "string"], "StringMap": ["map", "string"]}
    for kind, attr in re.findall(r"this\.get(\w+?)Attribute\('(\w+)'\)", own):
        if attr not in schema["attributes"] and attr not in schema["blocks"]:
            schema["attributes"][attr] = {"type": kinds.get(kind, "dynamic"), "computed": True}
    for attr in re.findall(r'= new \w+\(this, "(\w+)"', own):
        if attr not in schema["attributes"] and attr not in schema["blocks"]:
            schema["attributes"][attr] = {"type": "dynamic", "computed": True}
    return schema


def main():
    """Reads the library and writes the schema."""
    library = pathlib.Path(sys.argv[1])
    schema = {"resources": {}, "data": {}}
    for name in used():
        part = schema["data" if name.startswith("data.") else "resources"]
        part[name.removeprefix("data.")] = read(library, name)
    (HERE / "schema").mkdir(exist_ok=True)
    text = json.dumps(schema, indent=None, sort_keys=True, separators=(",", ":"))
    # One line per type makes diffs readable.
    text = re.sub(r'("(?:aws_\w+)":\{"attributes")', r"\n\1", text)
    (HERE / "schema/aws.json").write_text(text + "\n")


main()
