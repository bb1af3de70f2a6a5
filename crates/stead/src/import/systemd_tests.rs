//! Units, from whole to part, and what becomes of them.

use super::*;

fn import(name: &str, text: &str) -> Imported {
    let files = |path: &str| match path {
        "/etc/default/web" => Some("# x\nARGS=\"--a 'b c'\"\nTOKEN=t\n".to_owned()),
        "/etc/passwd" => Some("root:x:0:0::/r:/bin/sh\nweb:x:9:9::/srv/web:/bin/sh\n".to_owned()),
        _ => None,
    };
    read(name, &[text.to_owned()], &files).unwrap()
}

#[test]
fn a_unit_becomes_a_service() {
    let text = "[Unit]\nRequires=db.service\n[Service]\nType=notify\nUser=web\nUMask=007\n\
        EnvironmentFile=-/etc/default/web\nEnvironment=\"GREETING=hello you\" N=1\n\
        ExecStartPre=/bin/true\nExecStart=-/usr/bin/web $ARGS --name %i --to ${GREETING}\n\
        ExecReload=/bin/kill -s HUP $MAINPID\nKillSignal=SIGINT\nTimeoutStopSec=1min 30s\n\
        Restart=on-failure\nRestartSec=500ms\nWatchdogSec=20\nLimitNOFILE=1024:4096\n\
        MemoryMax=1G\nCPUQuota=150%\nTasksMax=64\nProtectSystem=strict\nPrivateTmp=yes\n\
        ReadWritePaths=-/var/lib/web\nStateDirectory=web\nAmbientCapabilities=CAP_NET_RAW\n\
        RestrictRealtime=true\nLogRateLimitBurst=3\n";
    let web = import("web@one.service", text);
    assert_eq!(web.name, "web-one");
    let fields = [
        ("run", r#"["/usr/bin/web", "--a", "b c", "--name", "one", "--to", "hello you"]"#),
        ("user", "\"web\""),
        (
            "env",
            "{ ARGS = \"--a 'b c'\", GREETING = \"hello you\", HOME = \"/srv/web\", N = \"1\", \
             TOKEN = \"t\" }",
        ),
        ("umask", "\"007\""),
        ("ready", "{ notify = true }"),
        ("live", "{ notify = true, timeout = \"20s\" }"),
        ("reload", "{ signal = \"HUP\" }"),
        ("stop.signal", "\"INT\""),
        ("stop.timeout", "\"90s\""),
        ("restart.when", "\"failure\""),
        ("restart.backoff", "\"500ms..5m\""),
        ("limits.files", "4096"),
        ("limits.memory", "\"1GiB\""),
        ("limits.cpu", "\"1500m\""),
        ("limits.processes", "64"),
        (
            "sandbox",
            "{ read = [\"/\"], write = [\"/var/lib/web\", \"/var/lib/web\"], signals = \"any\", \
             capabilities = [\"NET_RAW\"] }",
        ),
    ];
    for (name, value) in fields {
        assert_eq!(web.field(name), Some(value), "{name}");
    }
    for left in ["ExecStartPre=/bin/true", "Requires=db.service", "LogRateLimitBurst=3"] {
        assert!(web.left.iter().any(|it| it == left), "{left}: {:?}", web.left);
    }
}

#[test]
fn what_forks_is_kept_in_the_foreground() {
    let nginx = import(
        "nginx.service",
        "[Service]\nType=forking\nExecStart=/usr/sbin/nginx -g 'daemon on; master_process on;'\n\
         ExecStop=-/sbin/start-stop-daemon --quiet --stop --retry QUIT/5 --pidfile /run/x.pid\n",
    );
    let run = r#"["/usr/sbin/nginx", "-g", "daemon off; master_process on;"]"#;
    assert_eq!(nginx.field("run"), Some(run));
    assert_eq!(nginx.field("stop.signal"), Some("\"QUIT\""));
    assert_eq!(nginx.field("sandbox"), Some("\"off\""));
    let other = import("x.service", "[Service]\nType=forking\nExecStart=/usr/bin/x\n");
    assert!(other.left.iter().any(|left| left.contains("foreground")), "{:?}", other.left);
}

#[test]
fn times_are_read_as_systemd_does() {
    let cases = [
        ("20", Some("20s")),
        ("1min 30s", Some("90s")),
        ("2h", Some("2h")),
        ("500ms", Some("500ms")),
        ("0", Some("0s")),
        ("infinity", None),
        ("3 fortnights", None),
    ];
    for (text, shown) in cases {
        assert_eq!(duration(text).as_deref(), shown, "{text}");
    }
}
