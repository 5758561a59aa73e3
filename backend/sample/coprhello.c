#include <stdio.h>

int main(void)
{
    puts("Hello from your own Copr.");
    return 0;
}
