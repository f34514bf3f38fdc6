//! On a kernel that is pretended, which can do at will what a real one does once in a year.
