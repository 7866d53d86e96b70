// A page as a picture: node page_picture.cjs PLAYWRIGHT_CORE BROWSER URL PICTURE WIDTH HEIGHT light|dark
const [core, executablePath, url, path, width, height, colorScheme] = process.argv.slice(2);
const { chromium } = require(core);

(async () => {
  const browser = await chromium.launch({ executablePath, args: process.getuid() === 0 ? ['--no-sandbox'] : [] });
  const page = await browser.newPage({ viewport: { width: Number(width), height: Number(height) }, colorScheme });
  await page.goto(url);
  await page.waitForTimeout(500); // it draws in the next frames
  await page.screenshot({ path });
  await browser.close();
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
