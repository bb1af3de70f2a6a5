//! A server that says what time it is, and signs that.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use crate::place::Place;

const CONFIG: &str = "[tsa]\ndefault_tsa = clock\n[clock]\nserial = keys/serial\n\
    signer_cert = keys/clock.pem\ncerts = keys/ca.pem\nsigner_key = keys/clock.key\n\
    signer_digest = sha256\ndefault_policy = 1.2.3.4.1\ndigests = sha256\n";

/// Starts one of the place's authority, which answers as long as the test runs.
pub(crate) fn start(place: &Place) -> SocketAddr {
    let ext = "extendedKeyUsage=critical,timeStamping\nkeyUsage=critical,digitalSignature\n";
    fs::write(place.folder.join("keys/clock.ext"), ext).unwrap();
    fs::write(place.folder.join("keys/clock.conf"), CONFIG).unwrap();
    fs::write(place.folder.join("keys/serial"), "01\n").unwrap();
    place.openssl(
        "req -newkey rsa:2048 -nodes -keyout keys/clock.key -out keys/clock.csr -subj /CN=Clock",
    );
    place.openssl(
        "x509 -req -in keys/clock.csr -CA keys/ca.pem -CAkey keys/ca.key -CAcreateserial -days 2 \
         -extfile keys/clock.ext -out keys/clock.pem",
    );
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let folder = place.folder.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            answer(stream.unwrap(), &folder);
        }
    });
    address
}

fn answer(mut stream: TcpStream, folder: &Path) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut line, mut len) = (String::new(), 0);
    while reader.read_line(&mut line).unwrap() > 2 {
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            len = value.trim().parse().unwrap();
        }
        line.clear();
    }
    let mut query = vec![0; len];
    reader.read_exact(&mut query).unwrap();
    let asked: PathBuf = folder.join("keys/query");
    fs::write(&asked, query).unwrap();
    let mut reply = Command::new("openssl");
    reply.args(["ts", "-reply", "-config", "keys/clock.conf", "-queryfile", "keys/query"]);
    let reply = reply.current_dir(folder).output().unwrap();
    let head = format!(
        "HTTP/1.0 200 OK\r\nContent-Type: application/timestamp-reply\r\n\
         Content-Length: {}\r\n\r\n",
        reply.stdout.len()
    );
    stream.write_all(&[head.as_bytes(), &reply.stdout].concat()).unwrap();
}
