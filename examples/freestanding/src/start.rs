//! The parts of a C library that the program needs: entry point, memory functions, and exit.

use core::arch::global_asm;
use core::ffi::CStr;
use core::panic::PanicInfo;

use syscalls::{Sysno, syscall};

/// The arguments of the program.
#[derive(Clone, Copy)]
pub(crate) struct Arguments {
    first: *const *const u8,
    count: usize,
}

impl Arguments {
    pub(crate) fn get(self, index: usize) -> Option<&'static CStr> {
        if index >= self.count {
            return None;
        }
        // SAFETY: the kernel has stored `count` pointers to strings there, which are never freed.
        unsafe { Some(CStr::from_ptr((*self.first.add(index)).cast())) }
    }
}

// A program starts with only the stack pointer. The number of arguments is on top of the stack.
#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {start}",
    "ud2",
    start = sym start,
);
#[cfg(target_arch = "aarch64")]
global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, xzr",
    "mov x30, xzr",
    "mov x0, sp",
    "b {start}",
    start = sym start,
);

/// # Safety
///
/// The stack is as the kernel set it up.
unsafe extern "C" fn start(stack: *const usize) -> ! {
    // SAFETY: the number of arguments is on top of the stack, followed by the pointers to them.
    let arguments = unsafe { Arguments { count: *stack, first: stack.add(1).cast() } };
    exit(crate::main(arguments))
}

pub(crate) fn exit(status: u8) -> ! {
    loop {
        // SAFETY: the program has no destructors to run, and no other threads.
        let _ = unsafe { syscall!(Sysno::exit_group, status) };
    }
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    exit(101)
}

// The compiler turns copies and comparisons into calls of these functions. `no_builtins` prevents
// it from turning the loops here into such calls.

#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(dest: *mut u8, src: *const u8, len: usize) -> *mut u8 {
    for i in 0..len {
        // SAFETY: the caller guarantees `len` valid bytes at both pointers.
        unsafe { *dest.add(i) = *src.add(i) };
    }
    dest
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(dest: *mut u8, src: *const u8, len: usize) -> *mut u8 {
    if dest.addr().wrapping_sub(src.addr()) >= len {
        // SAFETY: the caller guarantees the memory. An ascending copy overwrites no byte before it
        // is read.
        return unsafe { memcpy(dest, src, len) };
    }
    for i in (0..len).rev() {
        // SAFETY: the caller guarantees `len` valid bytes at both pointers.
        unsafe { *dest.add(i) = *src.add(i) };
    }
    dest
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memset(dest: *mut u8, byte: i32, len: usize) -> *mut u8 {
    for i in 0..len {
        // SAFETY: the caller guarantees `len` valid bytes.
        unsafe { *dest.add(i) = byte as u8 };
    }
    dest
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, len: usize) -> i32 {
    for i in 0..len {
        // SAFETY: the caller guarantees `len` valid bytes at both pointers.
        let (a, b) = unsafe { (*a.add(i), *b.add(i)) };
        if a != b {
            return i32::from(a) - i32::from(b);
        }
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, len: usize) -> i32 {
    // SAFETY: the caller guarantees `len` valid bytes at both pointers.
    unsafe { memcmp(a, b, len) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(string: *const u8) -> usize {
    let mut len = 0;
    // SAFETY: the caller guarantees a string with a terminating zero.
    while unsafe { *string.add(len) } != 0 {
        len += 1;
    }
    len
}
