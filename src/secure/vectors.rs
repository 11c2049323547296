//! Test vectors of handshakes and a packet, computed by another implementation
//! (`vectors/make.py`).

const VECTORS: &str = include_str!("vectors/vectors.txt");

/// The bytes of the vector with that name.
pub(super) fn vector(name: &str) -> Vec<u8> {
    let value = VECTORS
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    hex(value.expect("the vector is in the file"))
}

/// The bytes that hexadecimal digits stand for.
pub(super) fn hex(digits: &str) -> Vec<u8> {
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal"))
        .collect()
}
