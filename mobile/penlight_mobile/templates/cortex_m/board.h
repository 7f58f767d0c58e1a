/* What main.c wants of a board. SPDX-License-Identifier: Apache-2.0 */
#ifndef PENLIGHT_BOARD_H
#define PENLIGHT_BOARD_H

#include <stddef.h>

void board_print(const char* text);
void board_exit(int code);

/* The memory between the program's data and its stack, which the linker script names. */
extern unsigned char board_heap_start[], board_heap_end[];

#endif
