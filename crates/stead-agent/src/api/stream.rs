//! Answers that come line by line, some for as long as someone listens.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::{Body as HttpBody, Bytes, Frame};
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::refused::Refused;

/// The most answers of this kind at a time: each has a thread and a connection.
pub(super) const STREAMS_MAX: usize = 16;

/// Chunks that wait for a slow client before its thread waits.
const CHUNKS_MAX: usize = 4;

/// Lines are sent in chunks of about this size.
const CHUNK_LEN: usize = 16 << 10;

/// The sending end: for one thread.
pub(super) struct Lines {
    to: Sender<Bytes>,
    chunk: Vec<u8>,
}

/// Nobody listens any more.
pub(super) struct Unheard;

impl Lines {
    /// Adds a line; it is sent with others.
    pub(super) fn push<T: Serialize>(&mut self, line: &T) -> Result<(), Unheard> {
        serde_json::to_writer(&mut self.chunk, line).expect("API types always serialize");
        self.chunk.push(b'\n');
        if self.chunk.len() >= CHUNK_LEN { self.flush() } else { Ok(()) }
    }

    /// Sends what there is; waits for a slow client.
    pub(super) fn flush(&mut self) -> Result<(), Unheard> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = Bytes::from(std::mem::take(&mut self.chunk));
        self.to.blocking_send(chunk).map_err(|_| Unheard)
    }

    pub(super) fn is_heard(&self) -> bool {
        !self.to.is_closed()
    }

    /// Another end, to ask while this one is in use.
    pub(super) fn ear(&self) -> impl Fn() -> bool + use<> {
        let to = self.to.clone();
        move || !to.is_closed()
    }
}

/// Answers with what a thread of its own writes.
pub(super) fn lines(
    slots: &Arc<Semaphore>,
    write: impl FnOnce(&mut Lines) + Send + 'static,
) -> Result<Response, Refused> {
    let slot = slots.clone().try_acquire_owned().map_err(|_| {
        Refused::of(
            StatusCode::SERVICE_UNAVAILABLE,
            "the agent takes no more of such requests",
            format!("{STREAMS_MAX} logs or events are being read already"),
            "end one of them",
        )
    })?;
    let (to, chunks) = channel(CHUNKS_MAX);
    tokio::task::spawn_blocking(move || {
        let mut lines = Lines { to, chunk: Vec::new() };
        write(&mut lines);
        // Who has gone misses nothing.
        let _ = lines.flush();
        drop(slot);
    });
    let body = Body::new(Chunks { chunks });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

struct Chunks {
    chunks: Receiver<Bytes>,
}

impl HttpBody for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.chunks.poll_recv(context).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
    }
}
