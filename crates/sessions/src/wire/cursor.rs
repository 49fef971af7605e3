//! Where frames begin and end in a stream of bytes (RFC 6455, section 5.2), without a look at what they say.

/// The opcode of a close frame, which is also the first one of a control frame.
const CLOSE: u8 = 0x8;

const PONG: u8 = 0xA;

/// In the first byte: the frame is the last one of its message.
const FINAL: u8 = 0x80;

/// In the second byte: a mask stands in front of the payload. Clients mask, servers do not.
const MASKED: u8 = 0x80;

/// Bytes of a mask.
const MASK: u64 = 4;

/// The position of the next byte in a stream of frames.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cursor {
    /// Bytes of the header seen so far: 0 to 9, then the frame's payload begins.
    header: u8,
    /// Payload length, as far as the header has been read.
    length: u64,
    /// Bytes of the extended length still to come.
    length_bytes: u8,
    /// Bytes of payload still to come.
    payload: u64,
    /// Whether this frame is held back. It is decided at the first byte, so that no frame is written partly.
    dropped: bool,
    /// The payload begins with a mask, which is not counted in its length.
    masked: bool,
    /// The newest frame was a part of a message, and another one follows.
    unfinished: bool,
    /// There was a close frame.
    closed: bool,
}

impl Cursor {
    /// Moves over the longest start of `buf` that is either written or held back as a whole. Returns its
    /// length and whether it is written.
    pub(crate) fn run(&mut self, buf: &[u8], drop_pongs: bool) -> (usize, bool) {
        let mut at = 0;
        let mut keep = None;
        while at < buf.len() {
            let mut ahead = *self;
            let step = ahead.advance(&buf[at..], drop_pongs);
            if *keep.get_or_insert(!ahead.dropped) == ahead.dropped {
                break;
            }
            *self = ahead;
            at += step;
        }
        (at, keep.unwrap_or(true))
    }

    /// Moves to the end of the frame, or over all of `buf` if that comes first. Returns how far.
    pub(crate) fn frame(&mut self, buf: &[u8]) -> usize {
        let mut at = 0;
        while at < buf.len() {
            at += self.advance(&buf[at..], false);
            if self.header == 0 && self.payload == 0 {
                break;
            }
        }
        at
    }

    /// Moves over all of `buf`.
    pub(crate) fn skip(&mut self, buf: &[u8], drop_pongs: bool) {
        let mut at = 0;
        while at < buf.len() {
            at += self.advance(&buf[at..], drop_pongs);
        }
    }

    /// Whether there was a close frame.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether the next byte begins a message, and none has been the last one.
    pub(crate) fn is_between_messages(&self) -> bool {
        self.header == 0 && self.payload == 0 && !self.unfinished && !self.closed
    }

    /// Moves over one byte of a header, or over as much payload as there is. `buf` is not empty.
    fn advance(&mut self, buf: &[u8], drop_pongs: bool) -> usize {
        if self.payload > 0 {
            let step = usize::try_from(self.payload).unwrap_or(usize::MAX).min(buf.len());
            self.payload -= step as u64;
            return step;
        }
        let byte = buf[0];
        match self.header {
            0 => {
                let opcode = byte & 0x0F;
                self.dropped = drop_pongs && opcode == PONG;
                self.closed |= opcode == CLOSE;
                // Control frames may stand between the parts of a message.
                if opcode < CLOSE {
                    self.unfinished = byte & FINAL == 0;
                }
                self.header = 1;
                return 1;
            }
            1 => {
                self.masked = byte & MASKED != 0;
                (self.length, self.length_bytes) = match byte & !MASKED {
                    126 => (0, 2),
                    127 => (0, 8),
                    short => (u64::from(short), 0),
                };
                self.header = 2;
            }
            _ => {
                self.length = self.length << 8 | u64::from(byte);
                self.length_bytes -= 1;
            }
        }
        if self.length_bytes == 0 {
            self.payload = self.length.saturating_add(if self.masked { MASK } else { 0 });
            self.header = 0;
        }
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(opcode: u8, length: usize) -> Vec<u8> {
        let mut frame = vec![0x80 | opcode];
        match length {
            0..126 => frame.push(length as u8),
            126..65536 => {
                frame.push(126);
                frame.extend((length as u16).to_be_bytes());
            }
            _ => {
                frame.push(127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend(std::iter::repeat_n(opcode, length));
        frame
    }

    /// The bytes that are sent when `bytes` is written in pieces of `piece` bytes.
    fn sent(bytes: &[u8], piece: usize, drop_pongs: bool) -> Vec<u8> {
        let mut cursor = Cursor::default();
        let mut out = Vec::new();
        for mut rest in bytes.chunks(piece) {
            while !rest.is_empty() {
                let (run, keep) = cursor.run(rest, drop_pongs);
                assert!(run > 0, "a run always moves on");
                if keep {
                    out.extend(&rest[..run]);
                }
                rest = &rest[run..];
            }
        }
        out
    }

    #[test]
    fn only_pongs_are_taken_off_the_wire_however_the_writes_are_cut() {
        let kept = [frame(1, 5), frame(2, 70_000), frame(9, 0), frame(1, 126), frame(8, 2)];
        let mut all = Vec::new();
        for frame_kept in &kept {
            all.extend(frame(PONG, 0));
            all.extend(frame_kept);
            all.extend(frame(PONG, 125));
            all.extend(frame(PONG, 3));
        }
        for piece in [1, 2, 3, 7, 127, 4096, all.len()] {
            assert_eq!(sent(&all, piece, true), kept.concat(), "pieces of {piece}");
            assert_eq!(sent(&all, piece, false), all, "pieces of {piece}, nothing dropped");
        }
    }

    #[test]
    fn a_message_ends_with_its_last_frame_and_no_message_follows_a_close() {
        let masked = |first: u8, length: u8| {
            let mut frame = vec![first, 0x80 | length, 1, 2, 3, 4];
            frame.resize(6 + usize::from(length), 0x81);
            frame
        };
        let frames = [
            (masked(0x81, 3), true),
            (masked(0x01, 2), false),
            (masked(0x89, 4), false),
            (masked(0x00, 0), false),
            (masked(0x80, 1), true),
            (masked(0x8A, 0), true),
            (masked(0x88, 2), false),
            (masked(0x81, 0), false),
        ];
        for piece in [1, 2, 3, 100] {
            let mut cursor = Cursor::default();
            for (number, (frame, between)) in frames.iter().enumerate() {
                for bytes in frame.chunks(piece) {
                    if bytes.as_ptr() != frame.as_ptr() {
                        assert!(!cursor.is_between_messages(), "in the middle of frame {number}");
                    }
                    cursor.skip(bytes, false);
                }
                assert_eq!(
                    cursor.is_between_messages(),
                    *between,
                    "behind frame {number}, pieces of {piece}"
                );
            }
        }
    }

    #[test]
    fn one_frame_is_taken_at_a_time() {
        let frames = [frame(1, 300), frame(9, 0), frame(2, 70_000)];
        let bytes = frames.concat();
        let (mut cursor, mut at) = (Cursor::default(), 0);
        for frame in &frames {
            let count = cursor.frame(&bytes[at..]);
            assert_eq!(count, frame.len());
            at += count;
        }
    }
}
