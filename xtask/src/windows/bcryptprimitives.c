/* Random bytes for programs in Rust: Wine 8 has no `bcryptprimitives.dll`, but the same bytes under the
 * name that they had before. */
#include <windows.h>

#define PART_BYTES_MAX 0x40000000

BOOLEAN WINAPI SystemFunction036(PVOID buffer, ULONG size);

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE buffer, SIZE_T size)
{
    while (size > 0) {
        ULONG part = size < PART_BYTES_MAX ? (ULONG)size : PART_BYTES_MAX;
        if (!SystemFunction036(buffer, part))
            return FALSE;
        buffer += part;
        size -= part;
    }
    return TRUE;
}
