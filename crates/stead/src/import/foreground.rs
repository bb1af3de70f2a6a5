//! Programs that put themselves into the background, and what keeps them in front: a keeper keeps
//! what it has started.

/// What a known program is to be run with, and how it is asked to end where that differs.
pub(super) struct Known {
    pub(super) argv: Vec<String>,
    pub(super) stop: Option<&'static str>,
}

/// The command line that stays in front; `None` for a program that is not known.
pub(super) fn keep_in_front(argv: &[String]) -> Option<Known> {
    let program = argv.first()?.rsplit('/').next()?;
    let mut argv = argv.to_vec();
    let mut stop = None;
    match program {
        "nginx" => {
            match argv.iter_mut().find(|word| word.contains("daemon on;")) {
                Some(word) => *word = word.replace("daemon on;", "daemon off;"),
                None => argv.extend(["-g", "daemon off;"].map(str::to_owned)),
            }
            stop = Some("QUIT");
        }
        "pg_ctlcluster" => {
            argv.insert(1, "--foreground".to_owned());
            stop = Some("INT");
        }
        "apache2ctl" | "apachectl" => {
            argv.retain(|word| word != "start");
            argv.extend(["-D", "FOREGROUND"].map(str::to_owned));
            stop = Some("WINCH");
        }
        "haproxy" => argv.retain(|word| word != "-D"),
        "memcached" => argv.retain(|word| word != "-d"),
        "gunicorn" | "gunicorn3" => argv.retain(|word| word != "--daemon" && word != "-D"),
        "redis-server" => argv.extend(["--daemonize", "no"].map(str::to_owned)),
        "sshd" => argv.push("-D".to_owned()),
        _ => return None,
    }
    Some(Known { argv, stop })
}
