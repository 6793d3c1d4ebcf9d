//! What an endpoint sends, as a whole reply and as a stream: it is a reply or a fault, however it is cut into pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lyceum_chat::wire::{Assembly, Sse, reply_of_body};
use lyceum_chat::{ChatReply, Fault, Limits};

fn stream(pieces: &[&[u8]], limits: &Limits) -> Result<ChatReply, Fault> {
    let (mut sse, mut assembly, mut events) = (Sse::new(limits), Assembly::default(), Vec::new());
    for piece in pieces {
        sse.push(piece, &mut events)?;
    }
    sse.finish(&mut events)?;
    for event in &events {
        assembly.take(event, &mut |_| {})?;
    }
    assembly.finish()
}

fuzz_target!(|input: (u8, &[u8])| {
    let (cut, bytes) = input;
    if let Ok(reply) = reply_of_body(bytes) {
        assert!(reply.tokens.iter().all(|token| token.logprob.is_finite()));
    }
    let limits = Limits { bytes: 4_096, line: 1_024, events: 64, ..Limits::default() };
    let (head, tail) = bytes.split_at(bytes.len().min(usize::from(cut)));
    assert_eq!(stream(&[bytes], &limits).is_ok(), stream(&[head, tail], &limits).is_ok());
});
