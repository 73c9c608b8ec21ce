//! Advice on keys that people use with docker and that are refused.

/// Advice on frequent keys that are refused: what to write instead.
pub(super) const INSTEAD: [(&[&str], &str); 19] = [
    (&["BindTo"], "it is called BindsTo= today"),
    (
        &["RequiresOverridable", "RequisiteOverridable"],
        "it is called Requires= today",
    ),
    (
        &["DynamicUser", "PAMName"],
        "remove it: edge-docker runs as root, and --user in ExecStart= sets the user of the container",
    ),
    (
        &[
            "MemoryMax",
            "MemoryHigh",
            "MemoryLimit",
            "MemoryLow",
            "MemoryMin",
        ],
        "it would limit edge-docker, not the container: write --memory=SIZE in ExecStart=",
    ),
    (
        &[
            "CPUQuota",
            "CPUShares",
            "CPUWeight",
            "AllowedCPUs",
            "CPUAffinity",
        ],
        "it would limit edge-docker, not the container: write --cpus=N, --cpu-shares=N or \
         --cpuset-cpus=LIST in ExecStart=",
    ),
    (
        &["TasksMax"],
        "it would limit edge-docker, not the container: write --pids-limit=N in ExecStart=",
    ),
    (
        &[
            "LimitNOFILE",
            "LimitNPROC",
            "LimitCORE",
            "LimitMEMLOCK",
            "LimitSTACK",
            "LimitRTPRIO",
        ],
        "it would limit edge-docker, not the container: write --ulimit NAME=SOFT:HARD in ExecStart=",
    ),
    (
        &[
            "OOMScoreAdjust",
            "OOMPolicy",
            "IOSchedulingClass",
            "IOWeight",
            "CPUSchedulingPolicy",
        ],
        "remove it: it would change edge-docker, not the container",
    ),
    (
        &["Slice", "Delegate", "ControlGroup"],
        "remove it: all containers are in edge-apps.slice",
    ),
    (
        &[
            "PIDFile",
            "NotifyAccess",
            "WatchdogSec",
            "BusName",
            "Sockets",
        ],
        "remove it: edge-docker runs in the foreground and sends no messages to systemd",
    ),
    (
        &["PassEnvironment", "UnsetEnvironment"],
        "remove it: write Environment=NAME=VALUE, or -e NAME=VALUE in ExecStart=",
    ),
    (
        &["LoadCredential", "SetCredential", "LoadCredentialEncrypted"],
        "write EnvironmentFile= with a file in /data/apps/APP, or mount one with --volume",
    ),
    (
        &[
            "ReadWritePaths",
            "ReadWriteDirectories",
            "ReadOnlyPaths",
            "BindPaths",
            "BindReadOnlyPaths",
            "StateDirectory",
            "RuntimeDirectory",
            "LogsDirectory",
            "CacheDirectory",
            "ConfigurationDirectory",
            "RootDirectory",
            "RootImage",
        ],
        "mount a directory of the app with --volume /data/apps/APP:PATH in ExecStart=",
    ),
    (
        &[
            "PrivateTmp",
            "PrivateDevices",
            "PrivateNetwork",
            "ProtectSystem",
            "ProtectHome",
            "NoNewPrivileges",
            "ReadOnlyDirectories",
            "CapabilityBoundingSet",
            "AmbientCapabilities",
            "RestrictAddressFamilies",
            "SystemCallFilter",
            "DeviceAllow",
            "DevicePolicy",
        ],
        "remove it: it would change edge-docker, not the container, which has \
         no-new-privileges and its own file system anyway",
    ),
    (
        &[
            "Conflicts",
            "PropagatesReloadTo",
            "ReloadPropagatedFrom",
            "Upholds",
            "OnSuccess",
        ],
        "remove it: a unit of /data/services may not stop, reload or start others this way",
    ),
    (
        &[
            "FailureAction",
            "SuccessAction",
            "StartLimitAction",
            "JobTimeoutAction",
            "RebootArgument",
        ],
        "remove it: an app may not restart the device",
    ),
    (
        &["DefaultDependencies", "IgnoreOnIsolate", "AllowIsolate"],
        "remove it: the unit must not start before the device is up, nor outlast its shutdown",
    ),
    (
        &["TTYPath", "TTYReset", "TTYVHangup"],
        "remove it: logs are in the journal, and edge-docker logs NAME",
    ),
    (
        &["MakeDirectory", "DirectoryMode", "SocketMode", "SocketUser"],
        "remove it: only ports are listened on, and edge-docker creates the directories of an app",
    ),
];
