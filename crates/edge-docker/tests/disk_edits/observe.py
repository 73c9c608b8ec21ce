"""Prints what runs on the device, as JSON by container: settings, process, mounts, files.

Names that differ between containers of the same specification are replaced.
"""
import hashlib, json, os, re, stat, subprocess


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def read(path):
    with open(path, "rb") as file:
        return file.read().decode("utf-8", "replace")


def attributes(path):
    names = os.listxattr(path, follow_symlinks=False)
    values = {name: os.getxattr(path, name, follow_symlinks=False).hex() for name in names}
    return "".join(f" {name}={values[name]}" for name in sorted(values) if name != "security.selinux")


def entry(path):
    data = os.lstat(path)
    text = f"{data.st_mode:o} {data.st_uid}:{data.st_gid} {data.st_rdev}"
    if stat.S_ISREG(data.st_mode):
        with open(path, "rb") as file:
            text += " " + hashlib.file_digest(file, "sha256").hexdigest()[:16]
    if stat.S_ISLNK(data.st_mode):
        text += " " + os.readlink(path)
    return text + attributes(path)


def files(top):
    found = {"/": entry(top)}
    for directory, below, names in os.walk(top):
        for name in below + names:
            path = os.path.join(directory, name)
            found[path[len(top):]] = entry(path)
    return found


def process(pid):
    place = f"/proc/{pid}"
    kept = ("Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")
    status = [line for line in read(place + "/status").splitlines() if line.split(":")[0] in kept]
    mounts = []
    for line in read(place + "/mountinfo").splitlines():
        head, tail = line.split(" - ")
        _, _, device, source, target, options = head.split()[:6]
        if target != "/":
            mounts.append(f"{target} {source} {options} {tail}")
    of = lambda pid, kind: os.readlink(f"/proc/{pid}/ns/{kind}")
    shared = [kind for kind in ("mnt", "pid", "net", "ipc", "uts", "user") if of(pid, kind) == of(1, kind)]
    etc = {name: read(f"{place}/root/etc/{name}") for name in ("hosts", "hostname", "resolv.conf")}
    return {
        "arguments": read(place + "/cmdline"),
        "environment": sorted(read(place + "/environ").split("\0")),
        "directory": os.readlink(place + "/cwd"),
        "status": status,
        "mounts": sorted(mounts),
        "shared with the device": shared,
        "limits": read(place + "/limits"),
        "score": read(place + "/oom_score_adj"),
        "etc": etc,
    }


def container(data):
    labels = data["Config"]["Labels"] or {}
    host = data["HostConfig"]
    settings = {
        "config": data["Config"],
        "host": host,
        "image": data["Image"],
        "program": [data["Path"]] + data["Args"],
        "volumes": sorted(mount["Destination"] for mount in data["Mounts"]),
        "networks": sorted(data["NetworkSettings"]["Networks"] or {}),
        "process": process(data["State"]["Pid"]),
    }
    text = json.dumps(settings)
    for value, name in ((data["Id"], "ID"), (data["Id"][:12], "ID"), (labels.get("edge.pins"), "KEY")):
        text = text.replace(value, name) if value else text
    text = text.replace(data["Image"].partition(":")[2], "IMAGE")
    text = re.sub(r"/volumes/[0-9a-f]{64}/", "/volumes/NAME/", text)
    text = re.sub(r"172\.17\.0\.\d+", "ADDRESS", text)
    settings = json.loads(text)
    settings["image"] = data["Image"]
    settings["files"] = files(data["GraphDriver"]["Data"]["MergedDir"])
    return settings


result = {}
ids = run("docker", "ps", "--quiet", "--no-trunc").split()
for data in json.loads(run("docker", "inspect", *ids)) if ids else []:
    try:
        result[data["Name"].lstrip("/")] = dict(container(data), id=data["Id"])
    except (FileNotFoundError, ProcessLookupError) as error:
        # It ended meanwhile, or is about to be started again.
        result[data["Name"].lstrip("/")] = {"ended": str(error)}
print(json.dumps(result))
