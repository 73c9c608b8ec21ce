//! Program for containers of tests: tries to change project and flags of the file that its
//! argument names, in every form that the kernel or a filter of calls could take. Prints
//! for each try its name and the number of the error, 0 without one.

use std::ffi::c_long;
use std::fs::File;
use std::os::fd::AsRawFd as _;

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
}

#[cfg(target_arch = "x86_64")]
const IOCTL: c_long = 16;
#[cfg(target_arch = "aarch64")]
const IOCTL: c_long = 29;

fn main() {
    let path = std::env::args().nth(1).expect("a file as the argument");
    let file = File::open(&path).expect("opening the file");
    let mut attributes = [0_u32; 7];
    let mut flags = 0_u64;
    let request = |number: u64, value: *mut u8| {
        // SAFETY: all of these requests read or write at most the 28 bytes at `value`.
        let result = unsafe { syscall(IOCTL, c_long::from(file.as_raw_fd()), number, value) };
        match result {
            0 => 0,
            _ => std::io::Error::last_os_error().raw_os_error().unwrap_or(-1),
        }
    };
    let attributes = attributes.as_mut_ptr().cast();
    println!("get-attributes {}", request(0x801c_581f, attributes));
    // The same project: a change that changes nothing needs no privilege.
    println!("set-attributes {}", request(0x401c_5820, attributes));
    println!("set-attributes-high {}", request(0xffff_ffff_401c_5820, attributes));
    let flags = std::ptr::from_mut(&mut flags).cast();
    println!("get-flags {}", request(0x8008_6601, flags));
    println!("set-flags {}", request(0x4008_6602, flags));
    println!("set-flags-high {}", request(0x1_4008_6602, flags));
    println!("set-flags-32 {}", request(0x4004_6602, flags));
    // Others work, whatever their numbers have in common with these.
    println!("version {}", request(0x8008_7601, flags));
    println!("terminal {}", request(0x5413, flags));
}
