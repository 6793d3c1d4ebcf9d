//! Server-sent events (WHATWG HTML, section 9.2), within bounds.

use crate::{Fault, Limits};

/// An event of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The event's `id`, if it has one of its own.
    pub id: Option<String>,
    /// Its data; several `data` lines are joined by line breaks.
    pub data: String,
}

/// Cuts bytes into events. However the bytes are cut into pieces, the events are the same.
#[derive(Debug)]
pub struct Sse {
    line: Vec<u8>,
    /// The last byte was a carriage return: a line feed now belongs to it.
    after_return: bool,
    first_line: bool,
    id: Option<String>,
    data: Option<String>,
    bytes: usize,
    events: usize,
    limits: Limits,
}

impl Sse {
    /// A reader that holds these limits on bytes, lines and events.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self {
            line: Vec::new(),
            after_return: false,
            first_line: true,
            id: None,
            data: None,
            bytes: 0,
            events: 0,
            limits: limits.clone(),
        }
    }

    /// Takes the next bytes; the events that they complete are appended to `events`.
    ///
    /// # Errors
    /// [`Fault::Flood`] beyond the limits, [`Fault::Garbled`] for bytes that are no UTF-8.
    pub fn push(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Result<(), Fault> {
        self.bytes += bytes.len();
        if self.bytes > self.limits.bytes {
            return Err(Fault::Flood { limit: self.limits.bytes, of: "bytes" });
        }
        for &byte in bytes {
            let ended_by_return = std::mem::replace(&mut self.after_return, byte == b'\r');
            match byte {
                b'\n' if ended_by_return => {}
                b'\n' | b'\r' => self.end_line(events)?,
                _ if self.line.len() >= self.limits.line => {
                    return Err(Fault::Flood { limit: self.limits.line, of: "bytes in a line" });
                }
                _ => self.line.push(byte),
            }
        }
        Ok(())
    }

    /// The end of the stream: an event whose closing blank line is missing counts, as many servers forget it.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn finish(&mut self, events: &mut Vec<Event>) -> Result<(), Fault> {
        if !self.line.is_empty() {
            self.end_line(events)?;
        }
        self.dispatch(events)
    }

    fn end_line(&mut self, events: &mut Vec<Event>) -> Result<(), Fault> {
        let bytes = std::mem::take(&mut self.line);
        let line = std::str::from_utf8(&bytes).map_err(|_| Fault::Garbled("a line is not UTF-8".into()))?;
        let line =
            if std::mem::take(&mut self.first_line) { line.trim_start_matches('\u{feff}') } else { line };
        if line.is_empty() {
            return self.dispatch(events);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            "id" => self.id = Some(value.to_owned()),
            // Comments keep a connection alive; other fields mean nothing here.
            _ => {}
        }
        Ok(())
    }

    fn dispatch(&mut self, events: &mut Vec<Event>) -> Result<(), Fault> {
        let id = self.id.take();
        let Some(data) = self.data.take() else { return Ok(()) };
        self.events += 1;
        if self.events > self.limits.events {
            return Err(Fault::Flood { limit: self.limits.events, of: "events" });
        }
        events.push(Event { id, data });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(pieces: &[&[u8]], limits: &Limits) -> Result<Vec<Event>, Fault> {
        let (mut sse, mut events) = (Sse::new(limits), Vec::new());
        for piece in pieces {
            sse.push(piece, &mut events)?;
        }
        sse.finish(&mut events)?;
        Ok(events)
    }

    fn data(text: &str) -> Vec<String> {
        let events = read(&[text.as_bytes()], &Limits::default()).unwrap();
        events.into_iter().map(|event| event.data).collect()
    }

    #[test]
    fn lines_end_in_three_ways() {
        assert_eq!(data("data: a\n\ndata:b\r\n\r\ndata:  c\r\rdata: d"), ["a", "b", " c", "d"]);
        assert_eq!(data("\u{feff}data: a\ndata: b\n\n"), ["a\nb"]);
        assert_eq!(data(": ping\n\nevent: x\n\nretry: 3\ndata\n\n"), [""]);
        assert_eq!(data(""), [""; 0]);
    }

    #[test]
    fn ids_belong_to_their_event() {
        let events = read(&[b"id: 1\ndata: a\n\ndata: b\n\n"], &Limits::default()).unwrap();
        assert_eq!(events[0].id.as_deref(), Some("1"));
        assert_eq!(events[1].id, None);
    }

    #[test]
    fn floods_and_garbage_end_it() {
        let tight = Limits { bytes: 40, line: 10, events: 2, ..Limits::default() };
        let of = |text: &str| read(&[text.as_bytes()], &tight).unwrap_err();
        assert_eq!(of("data: aaaaaaa"), Fault::Flood { limit: 10, of: "bytes in a line" });
        assert_eq!(of("data:1\n\ndata:2\n\ndata:3\n\n"), Fault::Flood { limit: 2, of: "events" });
        assert_eq!(of(&"\n".repeat(41)), Fault::Flood { limit: 40, of: "bytes" });
        assert!(matches!(read(&[b"data: \xff\n\n"], &tight), Err(Fault::Garbled(_))));
    }

    proptest! {
        #[test]
        fn the_cut_into_pieces_does_not_matter(text in "(data|id|:|\r|\n|é| |x){0,40}", cut in 0usize..80) {
            let bytes = text.as_bytes();
            let cut = cut.min(bytes.len());
            let limits = Limits::default();
            prop_assert_eq!(read(&[bytes], &limits), read(&[&bytes[..cut], &bytes[cut..]], &limits));
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(read(&[bytes], &limits), read(&single, &limits));
        }
    }
}
