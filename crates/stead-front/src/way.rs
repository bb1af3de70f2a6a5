//! One direction of a joined connection: bytes, then the end, then nothing.
//!
//! Nothing is read before what was read has been written, so one direction never holds more than a
//! buffer, and an idle one holds none.

use stead_proc::{Done, TcpSocket, Tube};

/// What one read takes at most. Bigger ones no longer make copying cheaper.
const BUFFER_LEN: usize = 64 << 10;

/// After so many bytes it is somebody else's turn.
const TURN_LEN: usize = 512 << 10;

/// After so many reads in a row that filled the buffer, a direction is worth a tube.
const FULL_READS_N: u8 = 2;

/// Tubes of one lane at the same time, at two files each; directions beyond copy.
pub(crate) const TUBES_MAX: usize = 32;

/// What the directions of one lane share.
pub(crate) struct Kit {
    buffer: Box<[u8]>,
    idle_tubes: Vec<Tube>,
    tubes_n: usize,
}

/// One direction.
#[derive(Debug, Default)]
pub(crate) struct Way {
    held: Held,
    stage: Stage,
    /// No room where it leads to; told when there is.
    is_blocked: bool,
    /// A short read does not say that nothing is left: the end may be right behind it.
    is_thorough: bool,
    full_reads_n: u8,
    /// Bytes that were read so far.
    taken: u64,
}

#[derive(Debug, Default)]
enum Held {
    #[default]
    Nothing,
    Bytes {
        bytes: Box<[u8]>,
        from: usize,
    },
    Tube(Box<Tube>),
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Stage {
    #[default]
    Open,
    /// The end has been read; what is held comes before it.
    Ending,
    /// All bytes are out, and the end is to be passed on.
    Ended,
    Over,
    /// Nobody takes its bytes any more.
    Cut,
}

/// How far a direction came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Pumped {
    /// Where it leads to has no room.
    Blocked,
    /// The connection it comes from is broken.
    Broken,
    /// There is more to do, after the others.
    More,
    /// Nothing to do until something happens.
    Quiet,
}

impl Kit {
    pub(crate) fn new() -> Self {
        let buffer = vec![0; BUFFER_LEN].into_boxed_slice();
        Self { buffer, idle_tubes: Vec::new(), tubes_n: 0 }
    }

    fn tube(&mut self) -> Option<Tube> {
        if let Some(tube) = self.idle_tubes.pop() {
            return Some(tube);
        }
        if self.tubes_n == TUBES_MAX {
            return None;
        }
        let tube = Tube::new().ok()?;
        self.tubes_n += 1;
        Some(tube)
    }

    /// Takes a tube back; one with bytes in it is of no more use.
    fn give_back(&mut self, tube: Tube) {
        if tube.held() == 0 {
            self.idle_tubes.push(tube);
        } else {
            self.tubes_n -= 1;
        }
    }

    /// Whether something could be given back to the system.
    pub(crate) fn is_worn(&self) -> bool {
        !self.idle_tubes.is_empty()
    }

    /// Gives the system back what lies idle.
    pub(crate) fn rest(&mut self) {
        self.tubes_n -= self.idle_tubes.len();
        self.idle_tubes = Vec::new();
    }
}

impl Way {
    /// A direction whose beginning may have been told of already.
    pub(crate) fn thorough() -> Self {
        Self { is_thorough: true, ..Self::default() }
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Ended | Stage::Over | Stage::Cut)
    }

    /// Passes the end on, once.
    pub(crate) fn pass_end(&mut self, to: &TcpSocket) {
        if self.stage == Stage::Ended {
            // If it is broken, the other direction finds out.
            let _ = to.end_writing();
            self.stage = Stage::Over;
        }
    }

    /// Whether it would not notice that where it begins is broken, since it does not read.
    pub(crate) fn is_blind(&self) -> bool {
        self.is_blocked || self.is_over()
    }

    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.stage == Stage::Cut
    }

    /// Something has come from where it begins, or even the end.
    pub(crate) fn readable(
        &mut self,
        ends: bool,
        from: &TcpSocket,
        to: &TcpSocket,
        kit: &mut Kit,
    ) -> Pumped {
        self.is_thorough |= ends;
        if self.is_blocked { Pumped::Quiet } else { self.pump(from, to, kit) }
    }

    /// There is room where it leads to.
    pub(crate) fn writable(&mut self, from: &TcpSocket, to: &TcpSocket, kit: &mut Kit) -> Pumped {
        if self.is_blocked { self.pump(from, to, kit) } else { Pumped::Quiet }
    }

    /// Moves what can be moved.
    fn pump(&mut self, from: &TcpSocket, to: &TcpSocket, kit: &mut Kit) -> Pumped {
        let mut moved = 0;
        while !self.is_over() {
            match self.let_out(to) {
                Ok(true) => self.is_blocked = false,
                Ok(false) => {
                    self.is_blocked = true;
                    return Pumped::Blocked;
                }
                Err(_) => {
                    self.end(Stage::Cut, kit);
                    break;
                }
            }
            if self.stage == Stage::Ending {
                self.end(Stage::Ended, kit);
                break;
            }
            if moved >= TURN_LEN {
                return Pumped::More;
            }
            let took = match &mut self.held {
                Held::Tube(tube) => tube.fill(from),
                Held::Nothing | Held::Bytes { .. } => from.read(&mut kit.buffer),
            };
            match took {
                Ok(Done::Bytes(0)) => self.stage = Stage::Ending,
                Ok(Done::Bytes(len)) => {
                    moved += len;
                    self.taken += len as u64;
                    if !matches!(self.held, Held::Tube(_)) && !self.pass_on(len, to, kit) {
                        return Pumped::Quiet;
                    }
                }
                Ok(Done::Later) => {
                    self.is_thorough = false;
                    self.empty_handed(kit);
                    return Pumped::Quiet;
                }
                Err(_) => {
                    self.empty_handed(kit);
                    return Pumped::Broken;
                }
            }
        }
        Pumped::Quiet
    }

    /// Writes what was just read into the buffer and holds what is left of it; `false` when nothing
    /// more can be there to read.
    fn pass_on(&mut self, len: usize, to: &TcpSocket, kit: &mut Kit) -> bool {
        let sent = match to.write(&kit.buffer[..len]) {
            Ok(Done::Bytes(sent)) => sent,
            Ok(Done::Later) => 0,
            Err(_) => {
                self.end(Stage::Cut, kit);
                return true;
            }
        };
        let is_full = len == kit.buffer.len();
        self.full_reads_n = if is_full { self.full_reads_n.saturating_add(1) } else { 0 };
        if sent < len {
            self.held = Held::Bytes { bytes: kit.buffer[sent..len].into(), from: 0 };
        } else if self.full_reads_n >= FULL_READS_N
            && let Some(tube) = kit.tube()
        {
            self.held = Held::Tube(Box::new(tube));
        }
        sent < len || is_full || self.is_thorough
    }

    /// Writes what is held; whether nothing is left.
    fn let_out(&mut self, to: &TcpSocket) -> std::io::Result<bool> {
        match &mut self.held {
            Held::Nothing => (),
            Held::Bytes { bytes, from } => {
                while *from < bytes.len() {
                    match to.write(&bytes[*from..])? {
                        Done::Bytes(sent) => *from += sent,
                        Done::Later => return Ok(false),
                    }
                }
                self.held = Held::Nothing;
            }
            Held::Tube(tube) => {
                while tube.held() > 0 {
                    if tube.empty(to)? == Done::Later {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(true)
    }

    fn end(&mut self, stage: Stage, kit: &mut Kit) {
        self.stage = stage;
        self.is_blocked = false;
        self.empty_handed(kit);
    }

    /// Gives back whatever this direction has taken.
    pub(crate) fn empty_handed(&mut self, kit: &mut Kit) {
        self.full_reads_n = 0;
        if let Held::Tube(tube) = std::mem::take(&mut self.held) {
            kit.give_back(*tube);
        }
    }
}
