use std::path::PathBuf;
use std::time::Duration;

use stead_proc::{LocalListener, LocalStream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::*;

const MODE: u32 = 0o600;
const PATIENCE: Duration = Duration::from_secs(10);
/// More than a pipe holds.
const MUCH: usize = 1 << 20;

/// A place for a socket, deeper than an address has room for.
fn place(test: &str) -> (PathBuf, PathBuf) {
    let folder = std::env::temp_dir().join(format!("stead-local-{}-{test}", std::process::id()));
    let deep = folder.join("d".repeat(60)).join("e".repeat(60));
    std::fs::create_dir_all(&deep).unwrap();
    (folder, deep.join("a.sock"))
}

#[tokio::test]
async fn many_clients_talk_at_once_and_see_the_end() {
    let (folder, path) = place("many");
    let mut listener = Listener::bind(&path, MODE).unwrap();
    let clients = (0..20_u8).map(|n| {
        let path = path.clone();
        tokio::spawn(async move {
            let mut stream = Stream::connect(&path).await.unwrap();
            let (mut read, mut write) = tokio::io::split(&mut stream);
            let sent = vec![n; MUCH];
            let mut came = vec![0; MUCH];
            let (wrote, heard) = tokio::join!(write.write_all(&sent), read.read_exact(&mut came));
            wrote.unwrap();
            heard.unwrap();
            assert!(came == sent);
            stream.write_all(b"bye").await.unwrap();
            assert_eq!(stream.read(&mut came).await.unwrap(), 0, "it ends");
        })
    });
    let clients: Vec<_> = clients.collect();
    let serve = async {
        for _ in 0..clients.len() {
            let mut stream = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut bytes = vec![0; MUCH];
                stream.read_exact(&mut bytes).await.unwrap();
                stream.write_all(&bytes).await.unwrap();
                stream.read_exact(&mut bytes[..3]).await.unwrap();
            });
        }
        for client in clients {
            client.await.unwrap();
        }
    };
    timeout(PATIENCE, serve).await.unwrap();
    // Where nobody listens any more, nobody connects, though there is still a name.
    drop(listener);
    let gone = timeout(PATIENCE, Stream::connect(&path)).await.unwrap();
    assert!(gone.is_err());
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn it_connects_to_who_listens_without_tokio_and_the_other_way_round() {
    let (folder, path) = place("both");
    #[cfg_attr(target_os = "linux", expect(unused_mut, reason = "the other system's changes"))]
    let mut listener = LocalListener::bind(&path).unwrap();
    let mut stream = Stream::connect(&path).await.unwrap();
    stream.write_all(b"one\n").await.unwrap();
    let mut accepted = eventually(|| listener.accept().unwrap()).await;
    let mut bytes = [0; 16];
    assert_eq!(eventually(|| accepted.read(&mut bytes).unwrap()).await, 4);
    accepted.send(b"two\n").unwrap();
    let (len, handed) = timeout(PATIENCE, stream.receive_with(&mut bytes)).await.unwrap().unwrap();
    assert_eq!((&bytes[..len], handed.len()), (&b"two\n"[..], 0));
    drop(accepted);
    timeout(PATIENCE, stream.readable()).await.unwrap().unwrap();
    assert_eq!(stream.read(&mut bytes).await.unwrap(), 0);
    drop((listener, stream));

    let mut listener = Listener::bind(&path, MODE).unwrap();
    let connected = tokio::task::spawn_blocking(move || LocalStream::connect(&path).unwrap());
    let mut accepted = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    let mut stream = connected.await.unwrap();
    accepted.write_all(b"three").await.unwrap();
    drop(accepted);
    // What was written before the end is read first.
    assert_eq!(eventually(|| stream.read(&mut bytes).unwrap()).await, 5);
    assert_eq!(eventually(|| stream.read(&mut bytes).unwrap()).await, 0);
    std::fs::remove_dir_all(folder).unwrap();
}

async fn eventually<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let asked = async {
        loop {
            if let Some(answer) = ask() {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, asked).await.unwrap()
}
