//! A gzipped tar archive: all that an npm package needs.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};

/// The archive of these files.
pub(super) fn archive(files: &[(String, String)]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    for (name, text) in files {
        encoder.write_all(&header(name, text.len())).expect("memory");
        encoder.write_all(text.as_bytes()).expect("memory");
        let padding = text.len().next_multiple_of(512) - text.len();
        encoder.write_all(&vec![0; padding]).expect("memory");
    }
    encoder.write_all(&[0; 1024]).expect("memory");
    encoder.finish().expect("memory")
}

fn header(name: &str, size: usize) -> [u8; 512] {
    let mut header = [0; 512];
    put(&mut header, 0, name);
    put(&mut header, 100, "0000644\0");
    put(&mut header, 108, "0000000\0");
    put(&mut header, 116, "0000000\0");
    put(&mut header, 124, &format!("{size:011o}\0"));
    put(&mut header, 136, "14700000000\0");
    put(&mut header, 148, "        ");
    put(&mut header, 156, "0");
    put(&mut header, 257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    put(&mut header, 148, &format!("{sum:06o}\0 "));
    header
}

fn put(header: &mut [u8; 512], at: usize, text: &str) {
    header[at..at + text.len()].copy_from_slice(text.as_bytes());
}
