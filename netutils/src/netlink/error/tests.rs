use std::num::NonZeroI32;

use super::*;

/// An answer as the kernel builds it: the request's header, its body, then the attributes.
fn echo(body: &[u8], attributes: &[u8]) -> Vec<u8> {
    let length = (HEADER + body.len()) as u32;
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.resize(HEADER, 0);
    bytes.extend(body);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend(attributes);
    bytes
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = (4 + value.len() as u16).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn refusal(flags: u16, header: Vec<u8>) -> Option<Cause> {
    let mut message = ErrorMessage::default();
    message.code = NonZeroI32::new(-libc::ENODEV);
    message.header = header;
    Cause::of_reply(flags, &message)
}

#[test]
fn the_kernels_text_is_found() {
    let mut attributes = attribute(2, &[1, 0, 0, 0]);
    attributes.extend(attribute(TEXT, b"Device does not exist\0"));
    for (flags, body) in [(NLM_F_ACK_TLVS, &b"odd"[..]), (NLM_F_ACK_TLVS | NLM_F_CAPPED, b"")] {
        let error = refusal(flags, echo(body, &attributes)).unwrap().of("remove", "interface 7");
        assert!(error.is_no_device() && error.is_not_found() && !error.is_exists());
        assert_eq!(
            error.to_string(),
            "cannot remove interface 7: no such device (ENODEV), the kernel says: Device does not exist"
        );
    }
}

#[test]
fn answers_without_text_or_cut_short_still_tell_the_number() {
    let texts = attribute(TEXT, b"never seen\0");
    for (flags, header) in [
        (0, echo(b"body", &texts)),
        (NLM_F_ACK_TLVS, Vec::new()),
        (NLM_F_ACK_TLVS, vec![0xff; 16]),
        (NLM_F_ACK_TLVS, echo(b"body", &[9, 0])),
        (NLM_F_ACK_TLVS | NLM_F_CAPPED, vec![0; 8]),
    ] {
        let cause = refusal(flags, header).unwrap();
        assert_eq!(cause.errno(), Some(libc::ENODEV));
        assert_eq!(cause.to_string(), "no such device (ENODEV)");
    }
}

#[test]
fn an_acknowledgement_is_no_failure() {
    assert!(Cause::of_reply(0, &ErrorMessage::default()).is_none());
}
