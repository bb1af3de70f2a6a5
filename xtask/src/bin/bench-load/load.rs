//! The clients of the benchmark: one thread that asks as fast as it is answered, or at a fixed
//! rate.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use stead_proc::{Done, News, Ready, TcpSocket};

use crate::origin::{BULK, CLOSED, KEPT, answer};

/// Before it is measured, everything has been done for this long.
const WARM_UP: Duration = Duration::from_millis(300);
const BUFFER_LEN: usize = 256 << 10;
/// Nothing at all for so long is a failure of what is measured.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// What each connection does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Way {
    Kept,
    /// A connection for each request.
    New,
}

/// A connection of the load.
struct Peer {
    socket: TcpSocket,
    connected: bool,
    /// When the request was due, while one is under way.
    due: Option<Instant>,
    got: usize,
}

pub(crate) struct Load {
    address: SocketAddr,
    way: Way,
    ready: Ready,
    peers: Vec<Peer>,
    idle: VecDeque<usize>,
    buffer: Vec<u8>,
    answer_len: usize,
    /// Latencies of the requests that were answered, in seconds.
    answered: Vec<f64>,
}

impl Load {
    pub(crate) fn new(address: SocketAddr, way: Way, peers_n: usize) -> Result<Self> {
        let mut load = Self {
            address,
            way,
            ready: Ready::new()?,
            peers: Vec::new(),
            idle: (0..peers_n).collect(),
            buffer: vec![0; BUFFER_LEN],
            answer_len: answer().len(),
            answered: Vec::new(),
        };
        for key in 0..peers_n {
            let peer = load.connect(key)?;
            load.peers.push(peer);
        }
        Ok(load)
    }

    fn connect(&self, key: usize) -> Result<Peer> {
        let socket = TcpSocket::connect(self.address).context("cannot connect")?;
        self.ready.add_both(&socket, key as u64)?;
        Ok(Peer { socket, connected: false, due: None, got: 0 })
    }

    /// Requests a second when each connection asks again as soon as it is answered.
    pub(crate) fn saturate(mut self, lasts: Duration) -> Result<f64> {
        self.ask_on(lasts)
    }

    /// Lets each connection be answered and then rest, until this process ends.
    pub(crate) fn idle(mut self, tell: impl FnOnce()) -> Result<()> {
        self.ask_on(Duration::ZERO)?;
        let mut news = News::default();
        while self.peers.iter().any(|peer| peer.due.is_some()) {
            self.turn(&mut news, SILENCE_MAX)?;
        }
        tell();
        self.ready.wait(&mut news, None)?;
        bail!("a connection that rested was ended")
    }

    fn ask_on(&mut self, lasts: Duration) -> Result<f64> {
        let began = Instant::now();
        let mut news = News::default();
        let (mut from, mut before_n) = (began, 0);
        let mut warm = false;
        loop {
            let now = Instant::now();
            if !warm && now - began >= WARM_UP {
                (warm, from, before_n) = (true, now, self.answered.len());
            }
            if warm && now - from >= lasts {
                let answered_n = self.answered.len() - before_n;
                return Ok(answered_n as f64 / (now - from).as_secs_f64());
            }
            while let Some(key) = self.idle.pop_front() {
                self.ask(key, now)?;
            }
            self.turn(&mut news, SILENCE_MAX)?;
        }
    }

    /// Latencies when requests are due at a fixed rate, whether or not there is a connection free:
    /// who waits for one has that counted.
    pub(crate) fn pace(mut self, rate: f64, lasts: Duration) -> Result<Vec<f64>> {
        let (began, step) = (Instant::now(), Duration::from_secs_f64(1.0 / rate));
        let end = began + WARM_UP + lasts;
        let warm_n = (WARM_UP.as_secs_f64() * rate) as usize;
        let mut news = News::default();
        let (mut next, mut due) = (began, VecDeque::new());
        loop {
            let now = Instant::now();
            while next <= now && next < end {
                due.push_back(next);
                next += step;
            }
            while let (Some(key), false) = (self.idle.front().copied(), due.is_empty()) {
                self.idle.pop_front();
                let at = due.pop_front().context("one is due")?;
                self.ask(key, at)?;
            }
            let is_over = next >= end && due.is_empty();
            if is_over && self.peers.iter().all(|peer| peer.due.is_none()) {
                return Ok(self.answered.split_off(warm_n.min(self.answered.len())));
            }
            ensure!(now < end + SILENCE_MAX, "requests are not answered in time");
            let patience = if next < end {
                next.saturating_duration_since(Instant::now())
            } else {
                SILENCE_MAX
            };
            self.look(&mut news, patience)?;
        }
    }

    fn ask(&mut self, key: usize, due: Instant) -> Result<()> {
        if self.way == Way::New && self.peers[key].got > 0 {
            self.peers[key] = self.connect(key)?;
        }
        let peer = &mut self.peers[key];
        peer.due = Some(due);
        peer.got = 0;
        if peer.connected { self.send(key) } else { self.go_on(key) }
    }

    fn send(&mut self, key: usize) -> Result<()> {
        let request = if self.way == Way::Kept { KEPT } else { CLOSED };
        let sent = self.peers[key].socket.write(request).context("cannot ask")?;
        ensure!(sent == Done::Bytes(request.len()), "a request does not fit");
        Ok(())
    }

    /// As [`Self::look`], but that nothing happens is an error.
    fn turn(&mut self, news: &mut News, patience: Duration) -> Result<()> {
        if self.look(news, patience)? == 0 {
            bail!("nothing happens");
        }
        Ok(())
    }

    fn look(&mut self, news: &mut News, patience: Duration) -> Result<usize> {
        self.ready.wait(news, Some(patience))?;
        let mut news_n = 0;
        for told in news.iter() {
            news_n += 1;
            self.go_on(usize::try_from(told.number)?)?;
        }
        Ok(news_n)
    }

    fn go_on(&mut self, key: usize) -> Result<()> {
        let address = self.address;
        let peer = &mut self.peers[key];
        if !peer.connected {
            peer.connected = peer.socket.is_connected(address).context("cannot connect")?;
            if peer.connected && peer.due.is_some() {
                self.send(key)?;
            }
            return Ok(());
        }
        let Some(due) = peer.due else { return Ok(()) };
        match peer.socket.read(&mut self.buffer).context("an answer is lost")? {
            Done::Bytes(0) => bail!("a connection ended before its answer"),
            Done::Bytes(len) => peer.got += len,
            Done::Later => return Ok(()),
        }
        if peer.got >= self.answer_len {
            peer.due = None;
            self.idle.push_back(key);
            self.answered.push(due.elapsed().as_secs_f64());
        }
        Ok(())
    }
}

/// Megabytes a second that flow through some connections at once.
pub(crate) fn pour(address: SocketAddr, peers_n: usize, lasts: Duration) -> Result<f64> {
    let ready = Ready::new()?;
    let mut peers = Vec::new();
    for key in 0..peers_n {
        let socket = TcpSocket::connect(address)?;
        ready.add_both(&socket, key as u64)?;
        peers.push((socket, false));
    }
    let mut buffer = vec![0; BUFFER_LEN];
    let mut news = News::default();
    let began = Instant::now();
    let (mut bytes, mut from) = (0_u64, None);
    loop {
        let now = Instant::now();
        if from.is_none() && now - began >= WARM_UP {
            (from, bytes) = (Some(now), 0);
        }
        if let Some(from) = from.filter(|from| now - *from >= lasts) {
            return Ok(bytes as f64 / 1e6 / (now - from).as_secs_f64());
        }
        ready.wait(&mut news, Some(SILENCE_MAX))?;
        let mut news_n = 0;
        for told in news.iter() {
            news_n += 1;
            let (socket, asked) = &mut peers[usize::try_from(told.number)?];
            if !*asked && socket.is_connected(address)? {
                *asked = socket.write(BULK)? == Done::Bytes(BULK.len());
            }
            // Not to the end: the others are to have their turn, and are told of again.
            while let Done::Bytes(len) = socket.read(&mut buffer)? {
                ensure!(len > 0, "the flood ended");
                bytes += len as u64;
                if from.is_some_and(|from| from.elapsed() >= lasts) {
                    break;
                }
            }
        }
        ensure!(news_n > 0, "nothing flows");
    }
}
